#!/bin/sh
# Installs Countersign @VERSION@ on Linux:
#
#   sh install.sh [--prefix DIR] [--from FOLDER|URL] [--key FILE]
#
# It fetches the archive for this processor, checks the signature of the list of digests and then
# the digest of the archive, and only then unpacks it: into /usr/local, or into DIR. Nothing is
# started. On Debian, Ubuntu, Fedora and their relatives the .deb or .rpm beside it makes the user
# and the systemd units work too. Needs sh, tar, sha256sum, openssl and, for a URL, curl.
set -eu

from=@ADDRESS@
version=@VERSION@
prefix=/usr/local
# The public half of the key that releases are signed with.
key='@KEY@'
key_file=

fail() {
    printf 'install: %s\n' "$1" >&2
    exit 1
}
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value, or is no option: --prefix DIR, --from FOLDER|URL, --key FILE"
    case $1 in
        --prefix) prefix=$2 ;;
        --from) from=$2 ;;
        --key) key_file=$2 ;;
        *) fail "there is no option $1: --prefix DIR, --from FOLDER|URL, --key FILE" ;;
    esac
    shift 2
done
[ -n "$from" ] || fail "this script knows no address: name one with --from"
case $(uname -s)-$(uname -m) in
    Linux-x86_64) arch=x86_64 ;;
    Linux-aarch64 | Linux-arm64) arch=aarch64 ;;
    *) fail "there is no binary for $(uname -s) on $(uname -m): build it with cargo install" ;;
esac
archive=countersign-$version-$arch-linux.tar.gz

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch() {
    case $from in
        https://*) curl --proto '=https' --tlsv1.2 -fsSL -o "$work/$1" "$from/$1" ;;
        *://*) fail "only https:// addresses are fetched from" ;;
        *) cp "$from/$1" "$work/$1" ;;
    esac || fail "cannot fetch $1 from $from"
}
fetch SHA256SUMS
fetch SHA256SUMS.sig
fetch "$archive"
if [ -n "$key_file" ]; then
    cp "$key_file" "$work/key"
else
    case $key in
        -----BEGIN*) printf '%s\n' "$key" >"$work/key" ;;
        *) fail "this script knows no key: name the file of the release key with --key" ;;
    esac
fi
openssl pkeyutl -verify -rawin -pubin -inkey "$work/key" -in "$work/SHA256SUMS" \
    -sigfile "$work/SHA256SUMS.sig" >/dev/null 2>&1 ||
    fail "the signature of SHA256SUMS is wrong: nothing was installed"
(cd "$work" && grep "  $archive\$" SHA256SUMS | sha256sum -c - >/dev/null 2>&1) ||
    fail "the digest of $archive is not the signed one: nothing was installed"
tar -xzf "$work/$archive" -C "$work"
folder=$work/${archive%.tar.gz}
for part in bin share/man share/bash-completion share/fish share/zsh share/doc; do
    mkdir -p "$prefix/$part"
    cp -R "$folder/usr/$part/." "$prefix/$part/"
done
printf 'Countersign %s is in %s/bin/countersign. Start it with: countersign serve\n' "$version" "$prefix"

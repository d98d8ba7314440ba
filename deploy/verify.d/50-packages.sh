# The packages: made twice, signed, installed by the script that checks them.
# shellcheck shell=bash

pack() {
    FAST=1 deploy/packages/build --strip "$countersign" "$1"
    # As the release workflow does, with the archive of the source that GitHub would make.
    SIGNING_KEY=$work/key.pem ADDRESS=https://example.invalid/release \
        SOURCE=https://example.invalid/source.tar.gz \
        SOURCE_SHA256=$(git archive HEAD | sha256sum | cut -d' ' -f1) deploy/packages/finish "$1"
}

step_packages() {
    needs dpkg-deb:dpkg rpmbuild:rpm readelf:binutils openssl:openssl
    # Stands for the key of the release workflow.
    openssl genpkey -algorithm ed25519 -out "$work/key.pem" 2>/dev/null
    pack "$work/packages"
    pack "$work/again"
    cmp "$work/packages/SHA256SUMS" "$work/again/SHA256SUMS"
    rm -rf "$work/again"
    cat "$work/packages/SHA256SUMS"
    if grep -n '@[A-Z0-9]*@' "$work/packages/install.sh" "$work/packages/countersign.rb"; then
        fail "a place was not filled in"
    fi
    echo "made twice: the same bytes"

    sh "$work/packages/install.sh" --from "$work/packages" --prefix "$work/prefix"
    "$work/prefix/bin/countersign" --version
    man -w -M "$work/prefix/share/man" countersign-serve >/dev/null 2>&1 ||
        test -s "$work/prefix/share/man/man1/countersign-serve.1.gz"
    bash -n "$work/prefix/share/bash-completion/completions/countersign"
    refused() {
        if sh "$work/packages/install.sh" --from "$1" --prefix "$work/refused" "${@:3}" 2>"$work/said"; then
            fail "installed $2"
        fi
        grep -q 'nothing was installed' "$work/said" || { cat "$work/said"; fail "it does not say why"; }
        [ ! -e "$work/refused" ] || fail "something was installed of $2"
    }
    cp -r "$work/packages" "$work/changed"
    echo changed >>"$(echo "$work"/changed/*.tar.gz)"
    refused "$work/changed" "a changed archive"
    (cd "$work/changed" && sha256sum -- *.tar.gz >SHA256SUMS)
    refused "$work/changed" "a changed list of digests"
    openssl genpkey -algorithm ed25519 2>/dev/null | openssl pkey -pubout >"$work/other.pub"
    refused "$work/packages" "what another key has signed" --key "$work/other.pub"
    echo "install.sh installs what was signed, and nothing that was changed"

    for package in "$work"/packages/*.deb; do
        # Not through a pipe, which grep closes before all of it is written.
        dpkg-deb --info "$package" >"$work/info"
        grep -q 'Package: countersign' "$work/info"
        dpkg-deb --contents "$package" >"$work/contents"
        grep -q './usr/lib/systemd/system/countersign.service' "$work/contents"
    done
    for package in "$work"/packages/*.rpm; do
        rpm --query --package --list "$package" 2>/dev/null >"$work/contents"
        grep -q /usr/lib/systemd/system/countersign.service "$work/contents"
    done
    if command -v systemd-analyze >/dev/null; then
        for unit in deploy/systemd/*.service; do
            # In tenths; what is under 2 is what its authors call OK at best.
            systemd-analyze security --offline=yes --threshold=20 --no-pager "$unit" | tail -1
        done
    else
        without "there is no systemd-analyze to rate the units"
    fi
    if command -v ruby >/dev/null; then
        ruby -c "$work/packages/countersign.rb"
    else
        without "there is no ruby to read the Homebrew formula"
    fi
}

# The images from source, on a Debian that stands for Docker's image of Rust: the same name, made of
# debootstrap and the toolchain of this machine, since no registry of images is reached.
# shellcheck shell=bash

step_source() {
    [ -n "$long" ] || leave_out "the short form does not compile"
    command -v rustup >/dev/null || leave_out "there is no rustup to take a toolchain from"
    debian
    with_podman
    local toolchain home
    toolchain=$(rustc --print sysroot)
    home=${RUSTUP_HOME:-$HOME/.rustup}
    mkdir -p "$work/rust/usr/local/bin" "$work/rust/usr/local/rustup/toolchains/here"
    tar -C "$work/rust" -xf "$tools/debian-2.tar"
    cp -a "$toolchain/bin" "$toolchain/lib" "$work/rust/usr/local/rustup/toolchains/here/"
    rm -rf "$work"/rust/usr/local/rustup/toolchains/here/share
    ln -s ../rustup/toolchains/here/bin/{cargo,rustc} "$work/rust/usr/local/bin/"
    # What the recipe asks of rustup is there already.
    printf '#!/bin/sh\n[ "$1 $2" = "target add" ] && [ -d "/usr/local/rustup/toolchains/here/lib/rustlib/$3" ]\n' \
        >"$work/rust/usr/local/bin/rustup"
    chmod +x "$work/rust/usr/local/bin/rustup"
    [ -d "$toolchain/lib/rustlib/$(uname -m)-unknown-linux-musl" ] ||
        rustup target add "$(uname -m)-unknown-linux-musl" || leave_out "there is no musl target to compile for"
    cp /etc/resolv.conf "$work/rust/etc/resolv.conf"
    chroot "$work/rust" sh -c 'apt-get -qq update && apt-get -qq install --yes --no-install-recommends gcc libc6-dev musl-tools >/dev/null' ||
        leave_out "the stand-in could not be made"
    tar -C "$work/rust" -c . | podman_here import - docker.io/library/rust:1.95.0-bookworm >/dev/null
    rm -rf "$work/rust"
    git archive HEAD | (mkdir "$work/source" && tar -C "$work/source" -x)
    for recipe in Dockerfile scheduler/Dockerfile; do
        podman_here build --format docker --network host --build-arg PROFILE="${PROFILE:-dev}" "${ulimits[@]}" \
            --env CARGO_HOME=/usr/local/cargo --pull=never \
            --volume "${CARGO_HOME:-$HOME/.cargo}/registry:/usr/local/cargo/registry" \
            --file "$work/source/$recipe" --tag from-source:verify "$work/source"
        contained --name from-source from-source:verify --version
        podman_here wait from-source >/dev/null
        podman_here logs from-source
        podman_here rm from-source >/dev/null
    done
}

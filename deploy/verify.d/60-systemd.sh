# The package in a Debian with systemd: installed, started, reloaded, removed.
# shellcheck shell=bash

# A root folder of Debian with systemd, made once.
debian() {
    if [ ! -s "$tools/debian.tar" ]; then
        [ -n "$long" ] || leave_out "the short form makes no Debian to install the package in"
        needs debootstrap:debootstrap
        debootstrap --variant=minbase --include=systemd,systemd-sysv,ca-certificates,curl \
            bookworm "$work/debian" >"$work/debootstrap" 2>&1 || {
            tail -3 "$work/debootstrap"
            leave_out "debootstrap could not make a Debian"
        }
        rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/*
        tar -C "$work/debian" -cf "$tools/debian.tar.new" .
        mv "$tools/debian.tar.new" "$tools/debian.tar"
        rm -rf "$work/debian"
    fi
}

inside() { podman_here exec verify-systemd "$@"; }

step_systemd() {
    debian
    with_podman
    needs dpkg-deb:dpkg
    FAST=1 deploy/packages/build --strip "$countersign" "$work/for-debian"
    podman_here import "$tools/debian.tar" debian:verify >/dev/null 2>&1
    podman_here run --detach --name verify-systemd --systemd always --privileged "${ulimits[@]}" \
        --volume "$work/for-debian:/packages:ro" debian:verify /sbin/init >/dev/null ||
        leave_out "systemd cannot run in a container here"
    for _ in $(seq 120); do
        state=$(inside systemctl is-system-running 2>/dev/null || true)
        case $state in running | degraded) break ;; esac
        sleep 0.5
    done
    case $state in
        running | degraded) ;;
        *) podman_here rm --force verify-systemd >/dev/null; leave_out "systemd in a container does not come up here: $state" ;;
    esac
    # From here to the first code counts the minute.
    began=$SECONDS
    inside sh -c 'dpkg --install /packages/countersign_*.deb'
    inside systemctl start countersign
    as="setpriv --reuid countersign --regid countersign --clear-groups --"
    for _ in $(seq 120); do
        inside $as countersign health --data-dir /var/lib/countersign >/dev/null 2>&1 && break
        sleep 0.5
    done
    inside sh -c "printf '%s' 'otpauth://totp/Verify:first?secret=JBSWY3DPEHPK3PXP&issuer=Verify' |
        $as countersign enroll - --data-dir /var/lib/countersign"
    inside $as countersign token Verify --data-dir /var/lib/countersign | grep -Eq '[0-9]{3} ?[0-9]{3}' || fail "no code"
    took=$((SECONDS - began))
    [ $took -lt 60 ] || fail "from the package to the first code it takes $took s"
    echo "from the package to the first code: $took s"
    inside sh -c 'systemd-analyze --man=no verify /usr/lib/systemd/system/countersign*.service'
    inside systemd-analyze security --no-pager countersign.service | tail -1
    inside sh -c 'echo "approvals = 2" >>/etc/countersign/countersign.toml'
    inside systemctl reload countersign
    for _ in $(seq 40); do
        inside journalctl --unit countersign --no-pager | grep -q 'need a restart' && break
        sleep 0.25
    done
    inside journalctl --unit countersign --no-pager | grep 'need a restart'
    inside systemctl restart countersign
    inside systemctl is-active countersign
    inside dpkg --remove countersign
    if inside systemctl is-active countersign >/dev/null 2>&1; then
        fail "removing the package leaves it running"
    fi
    inside dpkg --purge countersign
    inside test -d /var/lib/countersign
    podman_here rm --force verify-systemd >/dev/null
    without "the .rpm was read, not installed: there is no Fedora here"
}

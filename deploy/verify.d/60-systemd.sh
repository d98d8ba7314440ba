# The package in a Debian with systemd: installed, started, reloaded, removed.
# shellcheck shell=bash

# A root folder of Debian with systemd, made once.
debian() {
    if [ ! -s "$tools/debian-2.tar" ]; then
        [ -n "$long" ] || leave_out "the short form makes no Debian to install the package in"
        needs debootstrap:debootstrap
        debootstrap --variant=minbase --include=systemd,systemd-sysv,ca-certificates,curl,rpm \
            bookworm "$work/debian" >"$work/debootstrap" 2>&1 || {
            tail -3 "$work/debootstrap"
            leave_out "debootstrap could not make a Debian"
        }
        rm -rf "$work"/debian/var/cache/apt/archives/*.deb "$work"/debian/var/lib/apt/lists/*
        tar -C "$work/debian" -cf "$tools/debian-2.tar.new" .
        mv "$tools/debian-2.tar.new" "$tools/debian-2.tar"
        rm -rf "$work/debian"
    fi
}

inside() { podman_here exec verify-systemd "$@"; }

# Enrolls an account at the service that was just started, and reads a code.
first_code() {
    local as="setpriv --reuid countersign --regid countersign --clear-groups --"
    for _ in $(seq 120); do
        inside $as countersign health --data-dir /var/lib/countersign >/dev/null 2>&1 && break
        sleep 0.5
    done
    inside sh -c "printf '%s' 'otpauth://totp/Verify:first?secret=JBSWY3DPEHPK3PXP&issuer=Verify' |
        $as countersign enroll - --data-dir /var/lib/countersign"
    inside $as countersign token Verify --data-dir /var/lib/countersign | grep -Eq '[0-9]{3} ?[0-9]{3}' || fail "no code"
}

step_systemd() {
    debian
    with_podman
    needs dpkg-deb:dpkg
    FAST=1 deploy/packages/build --strip "$countersign" "$work/for-debian"
    podman_here import "$tools/debian-2.tar" debian:verify >/dev/null 2>&1
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
    first_code
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
    # By itself on a port that only root may have.
    inside install -D -m 0644 /usr/share/doc/countersign/low-port.conf /etc/systemd/system/countersign.service.d/low-port.conf
    inside sh -c 'echo "listen = \"127.0.0.1:443\"" >>/etc/countersign/countersign.toml'
    inside systemctl daemon-reload
    inside systemctl restart countersign
    for _ in $(seq 120); do
        inside curl -fsS http://127.0.0.1:443/readyz >/dev/null 2>&1 && break
        sleep 0.5
    done
    inside curl -fsS http://127.0.0.1:443/readyz >/dev/null || fail "it does not listen on port 443"
    inside systemd-analyze security --no-pager countersign.service | tail -1
    inside rm -r /etc/systemd/system/countersign.service.d
    inside dpkg --remove countersign
    if inside systemctl is-active countersign >/dev/null 2>&1; then
        fail "removing the package leaves it running"
    fi
    inside dpkg --purge countersign
    inside test -d /var/lib/countersign

    # The other package, by its own program. Debian's list of what is installed is not in rpm's.
    inside sh -c 'rm -r /var/lib/countersign; userdel countersign; rpm --install --nodeps /packages/countersign-*.rpm'
    inside rpm --verify --nodeps countersign
    inside systemctl start countersign
    first_code
    local before after
    before=$(inside systemctl show --property MainPID --value countersign)
    inside sh -c 'rpm --upgrade --force --nodeps /packages/countersign-*.rpm'
    after=$(inside systemctl show --property MainPID --value countersign)
    [ "$before" != "$after" ] && [ "$after" != 0 ] || fail "an upgrade of the .rpm does not restart what runs"
    inside rpm --erase countersign
    if inside systemctl is-active countersign >/dev/null 2>&1; then
        fail "removing the .rpm leaves it running"
    fi
    inside test -d /var/lib/countersign
    echo "the .rpm was installed, started, upgraded and removed"
    podman_here rm --force verify-systemd >/dev/null
    without "the .rpm was installed by rpm on Debian, not on a Fedora"
}

# shellcheck shell=bash
# What every script here starts with: strict errors, the project's folder, messages to the user,
# root where it is needed. Sourced, never run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
# A toolchain of rustup comes before one of the distribution; the sbin folders are missing from most
# users' PATH.
PATH=$HOME/.cargo/bin:$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
# Builds end up in one place, whatever folder or user configuration says.
target=${CARGO_TARGET_DIR:-$root/target}
[[ $target == /* ]] || target=$PWD/$target
CARGO_TARGET_DIR=$target
export HOME PATH CARGO_TARGET_DIR

me=${0##*/}

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "$me" "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The comment at the head of the calling script, as its help text.
print_help() { sed -n '2,/^[^#]/{/^# \{0,1\}/!d;/^# shellcheck /d;s/^# \{0,1\}//;p}' "$0"; }

# Seconds as 1m02s.
duration() {
    if (($1 < 60)); then printf '%ss' "$1"; else printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); fi
}

# Runs a command as root.
as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Makes sure that as_root will work, before anything has been done. Asks for a password only with a
# terminal.
check_root() {
    ((EUID == 0)) && return
    have sudo || die "network namespaces and TUN devices need root: run this as root, or install sudo"
    sudo -n true 2>/dev/null && return
    [[ -t 0 ]] || die "sudo asks for a password and there is no terminal: run this as root"
    say "Network namespaces and TUN devices need root; sudo may ask for your password."
    sudo -v || die "sudo refused: run this as root"
}

# The TUN device of the kernel, loaded where it is a module.
check_tun() {
    [[ -c /dev/net/tun ]] && return
    as_root modprobe tun 2>/dev/null || true
    [[ -c /dev/net/tun ]] ||
        die "/dev/net/tun is missing: load the module (modprobe tun), or pass the device into this container (--device /dev/net/tun)"
}

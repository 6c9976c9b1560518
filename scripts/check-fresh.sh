#!/usr/bin/env bash
# Builds a bare Debian 13 in a private folder, runs commands in a clone of this repository there, and prints what it
# saw: the table, tests passed and skipped, sizes, seconds. As root, on Debian or Ubuntu with debootstrap.
#
#   scripts/check-fresh.sh [COMMAND ...]
#
# COMMAND: each is one line of shell, run in the clone; by default the README's two, "make sweep" and "make test".
# Committed work only. PIP_*, TORCH* and proxy variables are passed on; folders that they name are shown to it read-only.
# DEBIAN_MIRROR: default http://deb.debian.org/debian. TMPDIR: where the folder is made (10 GB with CUDA, 4 GB without).
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
packages=python3,python3-venv,make,git,ca-certificates
certificates=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

case ${1:-} in -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;; esac

build() { # FOLDER: the system, and the clone in its /root/prefine-ray
    debootstrap --variant=minbase --include="$packages" trixie "$1" "$mirror" >"$1.log" 2>&1 || {
        tail -5 "$1.log" >&2
        return 1
    }
    [ ! -e "$certificates" ] || install -D -m 644 "$certificates" "$1$certificates"
    cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
    git clone --quiet --no-local --no-hardlinks "$repository" "$1/root/prefine-ray"
}

show_folders() { # FOLDER: what PIP_FIND_LINKS names, at the same place
    local path
    for path in ${PIP_FIND_LINKS:-}; do
        [ -d "$path" ] || continue
        mkdir -p "$1$path"
        mount --bind -o ro "$path" "$1$path"
    done
}

passed_on() { # the variables of the environment that commands get, as NAME=VALUE, each ended by a zero byte
    env -0 | grep -zE '^(PIP_[A-Z_]+|TORCH[A-Z_]*|https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY)='
}

run_command() { # FOLDER COMMAND
    local begun=$SECONDS status=0 outcome="done" variables
    mapfile -d '' -t variables < <(passed_on)
    echo "=== $2"
    chroot "$1" /usr/bin/env -i HOME=/root PATH=/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 "${variables[@]}" \
        bash -c "cd /root/prefine-ray && $2" 2>&1 | tee "$1.out" || { status=1; outcome=FAILED; }
    echo "--- $2: $outcome after $((SECONDS - begun)) s"
    summary "$1.out"
    echo "--- on disk: system $(du -shx --exclude=./root . 2>/dev/null | cut -f1)," \
        ".venv $(du -sh root/prefine-ray/.venv 2>/dev/null | cut -f1)," \
        "all $(du -shx . | cut -f1)"
    return $status
}

summary() { # OUTPUT: pytest's counts, and each reason to skip once
    grep -E '^(SKIPPED|FAILED|ERROR) ' "$1" | sort -u || true
    grep -E '^=+ .*(passed|failed|error).* in [0-9.]+s' "$1" || true
}

inside() { # FOLDER COMMAND...: in namespaces of its own, so that mounts and processes end with this
    local folder=$1 failed=0 command
    shift
    build "$folder"
    echo "a bare Debian 13 after $SECONDS s, $(git -C "$folder/root/prefine-ray" log -1 --format='commit %h')"
    mount -t proc proc "$folder/proc"
    mount --rbind /dev "$folder/dev"
    mount -t tmpfs -o mode=1777,size=50% tmpfs "$folder/dev/shm"
    show_folders "$folder"
    cd "$folder"
    chroot . python3 --version
    for command in "$@"; do run_command "$folder" "$command" || failed=1; done
    return $failed
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
    exit
fi

[ "$(id -u)" = 0 ] || { echo "error: chroot and mount need root: sudo make check-fresh" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "error: there is no debootstrap (apt install debootstrap)" >&2; exit 2; }
[ $# -gt 0 ] || set -- "make sweep" "make test"

work=$(mktemp -d -t prefine-fresh.XXXXXXXX) # readable by this user alone
child=
trap '[ -z "$child" ] || kill -KILL "$child" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
trap 'exit 143' INT TERM
mkdir -m 755 "$work/debian"
unshare --mount --propagation private --pid --fork --kill-child "$0" --inside "$work/debian" "$@" &
child=$!
status=0
wait "$child" || status=$?
child=
exit $status

#!/usr/bin/env bash
# Several Ray nodes on this machine, to try a cluster out: each a raylet of its own, as `ray start` makes on a host.
#
#   cluster/local.sh up [NODES] [CPUS] [GPUS]    # default: 4 nodes of 1 CPU; GPUS are the last node's, logical ones
#   export RAY_ADDRESS=127.0.0.1:6399 RAY_AUTH_MODE=token
#   cluster/local.sh stop NODE                   # ends one node, as a lost host would
#   cluster/local.sh down
#
# Variables: RAY_PORT (default 6399; the dashboard has the next one; 10002 to 19999 are the workers'), RAY (default:
# ray), PREFINE_LOCAL_CLUSTER (its folder, default /tmp/prefine-local).
set -euo pipefail

dir=${PREFINE_LOCAL_CLUSTER:-/tmp/prefine-local}
port=${RAY_PORT:-6399}
ray=${RAY:-ray}
export RAY_AUTH_MODE=token

up() {
    local nodes=$1 cpus=$2 gpus=$3 node
    [ ! -e "$dir/pids" ] || { echo "error: $dir has a cluster; run '$0 down' first" >&2; exit 1; }
    (umask 077 && mkdir "$dir") 2>/dev/null || is_ours || {
        echo "error: $dir exists and was not made by this script; remove it, or set PREFINE_LOCAL_CLUSTER" >&2
        exit 1
    }
    (umask 077 && : >"$dir/pids")
    (umask 077 && "$ray" get-auth-token --generate >/dev/null 2>&1) # ~/.ray/auth_token, made when first needed
    unset RAY_ADDRESS
    start 1 "$cpus" "$([ "$nodes" = 1 ] && echo "$gpus" || echo 0)" \
        --head --node-ip-address=127.0.0.1 --port="$port" --dashboard-host=127.0.0.1 --dashboard-port="$((port + 1))" \
        --temp-dir="$dir"
    for node in $(seq 2 "$nodes"); do
        start "$node" "$cpus" "$([ "$node" = "$nodes" ] && echo "$gpus" || echo 0)" \
            --address="127.0.0.1:$port" --node-ip-address=127.0.0.1
    done
    echo "$nodes nodes are up:"
    echo "export RAY_ADDRESS=127.0.0.1:$port RAY_AUTH_MODE=token"
}

is_ours() { [ -O "$dir" ] && [ ! -L "$dir" ] && [ -z "$(ls -A "$dir")" ]; } # an empty folder of this user

start() { # NODE CPUS GPUS OPTIONS of ray start; tries again where a busy machine takes longer than Ray's 30 s
    local node=$1 cpus=$2 gpus=$3 log=$dir/node$1.log
    shift 3
    for _ in 1 2 3 4 5; do
        setsid "$ray" start --block --num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory=200000000 \
            --dashboard-agent-listen-port="$((52400 + node))" "$@" >"$log" 2>&1 &
        sed -i "/^$node /d" "$dir/pids"
        echo "$node $!" >>"$dir/pids"
        if has_started "$node"; then return; fi
        grep -q "timed out during startup" "$log" || break
    done
    tail -n 3 "$log" >&2
    echo "error: node $node did not start; see $log, then run '$0 down'" >&2
    exit 1
}

has_started() { # NODE: waits until it has, or has ended without
    SECONDS=0
    until grep -q "Ray runtime started" "$dir/node$1.log" 2>/dev/null; do
        [ "$SECONDS" -lt 180 ] && kill -0 "$(pid_of "$1")" 2>/dev/null || return 1
        sleep 0.5
    done
}

pid_of() { sed -n "s/^$1 //p" "$dir/pids"; }

stop() { # PIDs of `ray start --block`, which ends its node when it is ended
    local pid
    for pid in "$@"; do kill "$pid" 2>/dev/null || true; done
    for pid in "$@"; do
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.2
        done
        kill -9 -- "-$pid" 2>/dev/null || true # its session
    done
}

down() {
    [ -e "$dir/pids" ] || { echo "no cluster in $dir"; return; }
    # shellcheck disable=SC2046  # one argument per node
    stop $(sort -rn "$dir/pids" | cut -d ' ' -f 2)
    rm -rf "$dir"
}

case "${1:-}" in
    up) up "${2:-4}" "${3:-1}" "${4:-0}" ;;
    stop) : "${2:?which node?}" && stop "$(pid_of "$2")" ;;
    down) down ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

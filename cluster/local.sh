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
    mkdir -p "$dir"
    (umask 077 && "$ray" get-auth-token --generate >/dev/null 2>&1) # ~/.ray/auth_token, made when first needed
    unset RAY_ADDRESS
    start 1 "$cpus" "$([ "$nodes" = 1 ] && echo "$gpus" || echo 0)" \
        --head --node-ip-address=127.0.0.1 --port="$port" --dashboard-host=127.0.0.1 --dashboard-port="$((port + 1))" \
        --temp-dir="$dir"
    wait_for 1
    for node in $(seq 2 "$nodes"); do
        start "$node" "$cpus" "$([ "$node" = "$nodes" ] && echo "$gpus" || echo 0)" \
            --address="127.0.0.1:$port" --node-ip-address=127.0.0.1
    done
    for node in $(seq 2 "$nodes"); do wait_for "$node"; done
    echo "$nodes nodes are up:"
    echo "export RAY_ADDRESS=127.0.0.1:$port RAY_AUTH_MODE=token"
}

start() { # NODE CPUS GPUS OPTIONS of ray start
    local node=$1 cpus=$2 gpus=$3
    shift 3
    setsid "$ray" start --block --num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory=200000000 \
        --dashboard-agent-listen-port="$((52400 + node))" "$@" >"$dir/node$node.log" 2>&1 &
    echo "$node $!" >>"$dir/pids"
}

wait_for() { # NODE
    local log=$dir/node$1.log
    SECONDS=0
    until grep -q "Ray runtime started" "$log" 2>/dev/null; do
        if [ "$SECONDS" -gt 180 ] || ! kill -0 "$(pid_of "$1")" 2>/dev/null; then
            tail -n 3 "$log" >&2
            echo "error: node $1 did not start; see $log" >&2
            exit 1
        fi
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

#!/usr/bin/env bash
# A real SLURM on one Debian machine, to try sweep.sbatch out: every node is a host of its own to the programs in it
# (its own network address, processes and /tmp/ray), which `ray symmetric-run` needs. Root only.
#
#   apt-get install slurm-wlm munge iproute2
#   cluster/slurm/local-slurm.sh up [NODES] [CPUS]      # default: 2 nodes of 2 CPUs
#   export SLURM_CONF=/tmp/local-slurm/slurm.conf       # for sinfo, sbatch, squeue, scancel
#   cluster/slurm/local-slurm.sh down
set -euo pipefail

state=${LOCAL_SLURM_DIR:-/tmp/local-slurm}
bridge=${LOCAL_SLURM_BRIDGE:-slurmbr0}
subnet=${LOCAL_SLURM_SUBNET:-10.77.0} # of the bridge, /24; the controller is .1, the nodes are .11 and up

up() {
    local nodes=$1 cpus=$2 node
    [ ! -e "$state/pids" ] || { echo "error: $state exists: a local SLURM is up, or run '$0 down' first" >&2; exit 1; }
    umask 077
    mkdir "$state" 2>/dev/null || is_ours || {
        echo "error: $state exists and was not made by this script; remove it, or set LOCAL_SLURM_DIR" >&2
        exit 1
    }
    chmod 711 "$state" # munge wants its socket reachable
    : >"$state/pids"
    mkdir "$state/controller"
    cd /
    start_munge
    write_config "$nodes" "$cpus"
    ip link add "$bridge" type bridge
    echo "$bridge" >"$state/bridge"
    ip address add "$subnet.1/24" dev "$bridge"
    ip link set "$bridge" up
    slurmctld -D -f "$state/slurm.conf" >"$state/slurmctld.out" 2>&1 &
    echo $! >>"$state/pids"
    for node in $(seq "$nodes"); do start_node "$node"; done
    wait_until_idle "$nodes"
    SLURM_CONF="$state/slurm.conf" sinfo
    echo "export SLURM_CONF=$state/slurm.conf"
}

is_ours() { [ -O "$state" ] && [ ! -L "$state" ] && [ -z "$(ls -A "$state")" ]; } # an empty folder of this user

start_munge() {
    mkdir "$state/munge" "$state/munge-socket"
    chmod 755 "$state/munge-socket"
    head -c 128 /dev/urandom >"$state/munge/key"
    munged --foreground --key-file="$state/munge/key" --socket="$state/munge-socket/socket" \
        --pid-file="$state/munge/pid" --seed-file="$state/munge/seed" --log-file="$state/munge/log" \
        >"$state/munged.out" 2>&1 &
    echo $! >>"$state/pids"
}

write_config() {
    local nodes=$1 cpus=$2 node
    cat >"$state/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$(hostname -s)($subnet.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$state/munge-socket/socket
CredType=cred/munge
StateSaveLocation=$state/controller
SlurmctldPidFile=$state/slurmctld.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdSpoolDir=$state/%n/spool
SlurmdPidFile=$state/%n/slurmd.pid
SlurmdLogFile=$state/%n/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=30
NodeName=node[1-$nodes] NodeAddr=$subnet.[11-$((10 + nodes))] CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    echo "CgroupPlugin=cgroup/v1" >"$state/cgroup.conf" # named, so that slurmd does not look for one; none is used
    { echo "127.0.0.1 localhost" && echo "$subnet.1 $(hostname -s)"; } >"$state/hosts"
    for node in $(seq "$nodes"); do echo "$subnet.$((10 + node)) node$node" >>"$state/hosts"; done
    chmod 644 "$state/hosts"
}

start_node() {
    local node=$1 name=node$1 space=slurm-node$1
    mkdir -p "$state/$name/spool" "$state/$name/ray"
    if mkdir /tmp/ray 2>/dev/null; then : >"$state/made-tmp-ray"; fi # a place to mount the node's own folder at
    [ -d /tmp/ray ] && [ ! -L /tmp/ray ] || { echo "error: /tmp/ray is no folder" >&2; exit 1; }
    ip netns add "$space"
    echo "$space" >>"$state/spaces"
    ip link add "slurm$node" type veth peer name eth0 netns "$space"
    ip link set "slurm$node" master "$bridge" up
    ip -n "$space" address add "$subnet.$((10 + node))/24" dev eth0
    ip -n "$space" link set lo up
    ip -n "$space" link set eth0 up
    ip -n "$space" route add default via "$subnet.1"
    # The shell stays as the first process of the node, to reap what its jobs leave.
    ip netns exec "$space" unshare --mount --pid --uts --fork --kill-child --mount-proc bash -c "
        hostname $name
        mount --bind $state/hosts /etc/hosts
        mount --bind $state/$name/ray /tmp/ray
        slurmd -D -N $name -f $state/slurm.conf & wait \$!" >"$state/$name/slurmd.out" 2>&1 &
    echo $! >>"$state/pids"
}

wait_until_idle() {
    local count
    for _ in $(seq 60); do
        count=$(SLURM_CONF="$state/slurm.conf" sinfo --noheader --Node --states=idle 2>/dev/null | wc -l)
        [ "$count" -lt "$1" ] || return 0
        sleep 1
    done
    echo "error: after 60 s $count of $1 nodes are idle; see $state/*.log and $state/*/slurmd.log" >&2
    exit 1
}

down() {
    local pid space
    [ -e "$state/pids" ] || { echo "no local SLURM in $state"; return; }
    tac "$state/pids" | while read -r pid; do kill "$pid" 2>/dev/null || true; done
    sleep 2
    while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done <"$state/pids"
    if [ -e "$state/spaces" ]; then
        while read -r space; do ip netns delete "$space" || true; done <"$state/spaces"
    fi
    if [ -e "$state/bridge" ]; then ip link delete "$(cat "$state/bridge")" || true; fi
    if [ -e "$state/made-tmp-ray" ]; then rmdir /tmp/ray 2>/dev/null || true; fi # unless somebody uses it now
    rm -rf "$state"
}

case "${1:-}" in
    up) up "${2:-2}" "${3:-2}" ;;
    down) down ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

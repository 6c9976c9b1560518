"""Connecting to Ray and dividing a cluster's resources."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from prefine_ray.core.errors import PrefineError
from prefine_ray.experiment.config import ResourceConfig
from prefine_ray.orchestration.ray_session.temp_folder import choose_folder

# The division counts half cores: a trial trains while others evaluate, so a rollout actor and a trial share a core.
ROLLOUT_CPUS = 0.5
COUNTERFACTUAL_CPUS = 0.25  # per counterfactual actor
COUNTERFACTUAL_ACTORS = 2  # per trial that asks for actors
# What Ray reserves. Train workers alone hold CPUs, and none waits for a second thing while it holds them: when nodes
# are lost, what is left over runs one after the other and cannot block itself.
TRIAL_CPUS = 1e-4  # the trial's own function, which waits; Ray's smallest amount
WORKER_CPUS = 0.95  # a Train worker on a CPU; leaves room for the trial functions
GPU_WORKER_CPUS = 0.5  # a Train worker with a GPU, or a part of one

_CONNECT_S = 20.0
_STARTS = 5
# Variables of all workers; see `connect`.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
# Nobody reads what Ray's log monitor sends to the driver (`log_to_driver`): let it look for new files every minute,
# not ten times a second, unless the environment has other settings.
_LOG_MONITOR = {"RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0", "LOG_NAME_UPDATE_INTERVAL_S": "60"}
ROLE_LABEL = "prefine-role"  # a node label: `ray start --labels prefine-role=rollout` (or learner)


class ClusterError(PrefineError, RuntimeError):
    """The cluster cannot run the sweep; the message says what is missing and the remedy."""


@dataclass(frozen=True)
class ResourcePlan:
    """How many of each run at once, and where; together they fit the cluster, so nothing waits forever."""

    rollout_actors: int
    concurrent_trials: int
    gpus_per_worker: float
    counterfactual_actors: int  # per trial
    rollout_nodes: tuple[str, ...] = ()  # ids of the nodes that actors go to, in turns: one entry per core
    learner_label: bool = False  # Train workers ask for nodes with the role of a learner

    def __str__(self) -> str:
        gpu = f", {self.gpus_per_worker:g} GPU per Train worker" if self.gpus_per_worker else ""
        counterfactual = (
            f", {self.counterfactual_actors} counterfactual actors per trial" if self.counterfactual_actors else ""
        )
        return f"{self.rollout_actors} rollout actors, {self.concurrent_trials} trials at once{gpu}{counterfactual}"

    @property
    def worker_resources(self) -> dict[str, float]:
        """What a Train worker reserves."""
        if self.gpus_per_worker:
            return {"CPU": GPU_WORKER_CPUS, "GPU": self.gpus_per_worker}
        return {"CPU": WORKER_CPUS}


@dataclass(frozen=True)
class _Node:
    name: str  # its id
    cpus: float
    gpus: float
    role: str


def connect(address: str | None = None) -> bool:
    """Joins the Ray cluster at `address` (or RAY_ADDRESS); with neither, starts a Ray of its own on this machine.

    One thread per process for the numerical libraries: parallelism is by processes, and results then do
    not depend on a machine's number of cores.

    Returns:
        Whether an existing cluster was joined.

    Raises:
        ClusterError: there is no cluster at the address.
        RayFolderError: Ray cannot use its folder on this machine.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if ray.is_initialized():
        return address != "local"
    _check_address(address)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # Tune prints nothing of its own beside the progress line,
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # which says what failed and names the log
    protect_token(address)
    if address == "local":
        _start_here()
        return False
    try:
        _init(address=address, runtime_env={"env_vars": ONE_THREAD})
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise _no_cluster(address, error) from error
    return True


def protect_token(address: str) -> None:
    """Makes Ray's token file readable by its owner only, and before Ray would make one that everybody may read.

    A Ray of this machine alone gets a token of its own in the environment where the file cannot be kept.

    Raises:
        ClusterError: a cluster is joined, and the home folder cannot be written.
    """
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        if path.exists():
            if path.stat().st_uid == os.getuid() and path.stat().st_mode & 0o077:
                path.chmod(0o600)
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        return  # another process was faster
    except OSError as error:
        if address == "local":
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
            return
        raise ClusterError(
            f"{path}: Ray's token cannot be kept there ({error.strerror}); set RAY_AUTH_TOKEN_PATH to a file in a "
            "folder that you may write, or HOME to one"
        ) from error


def _listen_on_loopback() -> None:
    """Lets a Ray of this machine alone give its node the address 127.0.0.1.

    Ray does so where it is told that there are no clusters on this system; `_node_ip_address` is replaced by the
    machine's address in the network.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # of Ray's own processes
    ray_constants.ENABLE_RAY_CLUSTER = False


def _start_here() -> None:
    """Starts a Ray of this machine alone.

    Its workers inherit the variables of its node. With a runtime environment, the workers that Ray starts ahead would
    not be used, and every other one would wait for its environment.
    """
    _listen_on_loopback()
    for name, value in _LOG_MONITOR.items():
        os.environ.setdefault(name, value)
    with _variables(ONE_THREAD):
        _init(address="local", include_dashboard=False, _temp_dir=choose_folder())  # ten processes saved


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables of the processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _init(**settings: Any) -> None:
    """`ray.init`, again where a busy machine needs longer than the 30 s that Ray gives its node to start."""
    for start in range(1, _STARTS + 1):
        try:
            ray.init(log_to_driver=False, logging_level=logging.WARNING, **settings)
            return
        except Exception as error:  # Ray raises no narrower one
            if start == _STARTS or "timed out during startup" not in str(error):
                raise


def _check_address(address: str) -> None:
    """Ray itself would try for ten minutes where nothing answers."""
    host, _, port = address.rpartition(":")
    if "/" in host or not port.isdigit():
        return  # "local", "auto", or a client's address
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ClusterError:
    return ClusterError(
        f"no Ray cluster could be joined at {address}: {str(error).strip() or type(error).__name__}\n"
        "Start one with `ray start --head` (and `ray start --address HEAD:6379` on the other machines), "
        "or give neither --address nor RAY_ADDRESS to run on this machine alone"
    )


def plan_resources(config: ResourceConfig, counterfactual_actors: bool) -> ResourcePlan:
    """Divides the connected cluster; see `divide`."""
    return divide([node for node in ray.nodes() if node["Alive"]], config, counterfactual_actors)


def divide(nodes: Sequence[Mapping[str, Any]], config: ResourceConfig, counterfactual_actors: bool) -> ResourcePlan:
    """Rollout work to CPU nodes, Train workers to GPU nodes; where both share nodes, half of the cores each.

    Nodes with the label `prefine-role` are used as it says. Otherwise Train workers need a GPU where there is one.

    Args:
        nodes: alive nodes as of `ray.nodes()`.
        config: what the user wants.
        counterfactual_actors: whether trials have actors that generate counterfactuals.

    Raises:
        ClusterError: the cluster is too small for one trial beside one rollout actor.
    """
    known = [_node(node) for node in nodes]
    gpus = config.gpus_per_worker
    if gpus is None:
        gpus = 1.0 if any(node.gpus for node in known) else 0.0
    rollout_nodes, learner_nodes = _rollout_nodes(known, gpus), _learner_nodes(known, gpus)
    slots = _slots(rollout_nodes)
    actors = config.rollout_actors or max(1, slots // 2)
    per_trial = COUNTERFACTUAL_ACTORS if counterfactual_actors else 0
    shared = any(node in learner_nodes for node in rollout_nodes)
    slots_per_trial = shared + per_trial * COUNTERFACTUAL_CPUS / ROLLOUT_CPUS
    trials = _fitting_workers(learner_nodes, gpus)
    if slots_per_trial:
        trials = min(trials, int((slots - actors) / slots_per_trial))
    if trials < 1:
        raise _too_small(known, slots, actors, slots_per_trial, gpus)
    label = any(node.role == "learner" for node in known)
    trials = min(trials, config.concurrent_trials or trials)
    return ResourcePlan(actors, trials, gpus, per_trial, tuple(_turns(rollout_nodes)), label)


def _too_small(
    nodes: Sequence[_Node], slots: int, actors: int, slots_per_trial: float, gpus_per_worker: float
) -> ClusterError:
    cpus, gpus = slots * ROLLOUT_CPUS, sum(node.gpus for node in nodes)
    needed = (actors + slots_per_trial) * ROLLOUT_CPUS
    return ClusterError(
        f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs; {actors} rollout actors and one trial "
        f"need {needed:g} CPUs and {gpus_per_worker:g} GPUs. Lower resources.rollout_actors or "
        "resources.gpus_per_worker, or start Ray with more"
    )


def place(plan: ResourcePlan, number: int) -> dict[str, Any]:
    """Options of rollout or counterfactual actor `number`: its node while that lives, any other one afterwards."""
    if not plan.rollout_nodes:
        return {"num_cpus": 0}
    node = plan.rollout_nodes[number % len(plan.rollout_nodes)]
    return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)}


def _node(node: Mapping[str, Any]) -> _Node:
    resources = node["Resources"]
    role = (node.get("Labels") or {}).get(ROLE_LABEL, "")
    return _Node(node["NodeID"], resources.get("CPU", 0.0), resources.get("GPU", 0.0), role)


def _learner_nodes(nodes: Sequence[_Node], gpus_per_worker: float) -> list[_Node]:
    """The nodes of Train workers: those with the role, else all; with GPUs where workers need them."""
    candidates = [node for node in nodes if node.role == "learner"] or nodes
    return [node for node in candidates if node.gpus or not gpus_per_worker]


def _rollout_nodes(nodes: Sequence[_Node], gpus_per_worker: float) -> list[_Node]:
    """The nodes of rollout work: those with the role, else those that the learners leave, else all; with CPUs."""
    with_cpus = [node for node in nodes if node.cpus]
    for is_for_rollouts in (
        lambda node: node.role == "rollout",
        lambda node: node.role != "learner" and not (gpus_per_worker and node.gpus),
    ):
        if chosen := [node for node in with_cpus if is_for_rollouts(node)]:
            return chosen
    return with_cpus


def _slots(nodes: Sequence[_Node]) -> int:
    """Half cores, not split over nodes."""
    return sum(int(node.cpus / ROLLOUT_CPUS) for node in nodes)


def _fitting_workers(nodes: Sequence[_Node], gpus_per_worker: float) -> int:
    """How many Train workers the nodes hold at once; a part of a GPU does not span GPUs."""
    if not gpus_per_worker:
        return sum(int(node.cpus / WORKER_CPUS) for node in nodes)
    per_gpu = int(1 / gpus_per_worker) if gpus_per_worker <= 1 else 1 / gpus_per_worker
    return sum(min(int(node.gpus * per_gpu), int(node.cpus / GPU_WORKER_CPUS)) for node in nodes)


def _turns(nodes: Sequence[_Node]) -> list[str]:
    """Node names, round after round; a node takes part in as many rounds as it has cores, and in one at least."""
    rounds = max((int(node.cpus) for node in nodes), default=0)
    return [node.name for turn in range(max(1, rounds)) for node in nodes if node.cpus > turn]

"""Connecting to Ray and dividing a cluster's resources."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import ray

from prefine_ray.config import ResourceConfig

# Of one core, logically: a trial trains while others evaluate, so a rollout actor and a trial share a core.
ROLLOUT_CPUS = 0.5
TRIAL_CPUS = 0.1  # the trial's own function, which mostly waits
WORKER_CPUS = 0.4  # the Train worker
COUNTERFACTUAL_CPUS = 0.25  # per counterfactual actor
COUNTERFACTUAL_ACTORS = 2  # per trial that asks for actors


class ClusterError(RuntimeError):
    """The cluster cannot run the sweep; the message says what is missing and the remedy."""


@dataclass(frozen=True)
class ResourcePlan:
    """How many of each run at once; together they fit the cluster, so nothing waits for ever."""

    rollout_actors: int
    concurrent_trials: int
    gpus_per_worker: float
    counterfactual_actors: int  # per trial

    def __str__(self) -> str:
        gpu = f", {self.gpus_per_worker:g} GPU per Train worker" if self.gpus_per_worker else ""
        counterfactual = (
            f", {self.counterfactual_actors} counterfactual actors per trial" if self.counterfactual_actors else ""
        )
        return f"{self.rollout_actors} rollout actors, {self.concurrent_trials} trials at once{gpu}{counterfactual}"


def connect(address: str | None = None) -> None:
    """Joins the Ray cluster at `address` (or RAY_ADDRESS), or starts Ray on this machine.

    One thread per process for the numerical libraries: parallelism is by processes, and results then do
    not depend on a machine's number of cores.
    """
    if ray.is_initialized():
        return
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address=address or os.environ.get("RAY_ADDRESS"),
        runtime_env={"env_vars": threads},
        logging_level=logging.WARNING,
        log_to_driver=False,
    )


def plan_resources(config: ResourceConfig, counterfactual_actors: bool) -> ResourcePlan:
    """Divides the cluster: half of each node's cores for rollout actors, half for trials.

    Raises:
        ClusterError: the cluster is too small for one trial beside one rollout actor.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    slots = sum(int(node.get("CPU", 0) / ROLLOUT_CPUS) for node in nodes)  # half cores, not split over nodes
    gpus = sum(node.get("GPU", 0) for node in nodes)
    actors = config.rollout_actors or max(1, slots // 2)
    per_trial = COUNTERFACTUAL_ACTORS if counterfactual_actors else 0
    slots_per_trial = 1 + per_trial * COUNTERFACTUAL_CPUS / ROLLOUT_CPUS
    fitting = int((slots - actors) / slots_per_trial)
    gpus_per_worker = (1.0 if gpus else 0.0) if config.gpus_per_worker is None else config.gpus_per_worker
    if gpus_per_worker:
        fitting = min(fitting, int(gpus / gpus_per_worker))
    if fitting < 1:
        needed = (actors + slots_per_trial) * ROLLOUT_CPUS
        raise ClusterError(
            f"the cluster has {slots * ROLLOUT_CPUS:g} CPUs and {gpus:g} GPUs; {actors} rollout actors and one trial "
            f"need {needed:g} CPUs and {gpus_per_worker:g} GPUs. Lower resources.rollout_actors or "
            "resources.gpus_per_worker, or start Ray with more"
        )
    return ResourcePlan(actors, min(fitting, config.concurrent_trials or fitting), gpus_per_worker, per_trial)

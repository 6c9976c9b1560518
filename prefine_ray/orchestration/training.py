"""The Ray Train worker that fine-tunes one pack of cells as a population."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ray import train
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

from prefine_ray.job import CurveRecorder, FineTuneJob, make_learner
from prefine_ray.learner import Learner
from prefine_ray.orchestration.actors import ActorSource, start_counterfactual_actors
from prefine_ray.orchestration.cluster import COUNTERFACTUAL_CPUS, WORKER_CPUS, ResourcePlan
from prefine_ray.policy import GaussianPolicy, PolicyHeader, load_policy, save_policy

_STATE, _CURVES, _POLICIES = "state.pt", "curves.parquet", "population.safetensors"
MAX_WORKER_FAILURES = 3
# Ray Train's own settings, unless the environment has others. A fit ends when its controller looks after the worker
# (every 2 s by default). The watcher for nodes about to be reclaimed is one more process for every fit, and a fit on a
# lost node goes on from its last checkpoint anyway.
TRAIN_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}


@dataclass(frozen=True)
class TrainedPack:
    """The outcome of a fit."""

    policies: GaussianPolicy
    curves: pd.DataFrame
    wall_s: float


class _Trainer(TorchTrainer):
    """A trainer without Ray Data, whose manager would be one more process for every fit."""

    def _create_default_callbacks(self) -> list[Any]:
        return [one for one in super()._create_default_callbacks() if not isinstance(one, DatasetsCallback)]


def train_pack(job: FineTuneJob, plan: ResourcePlan, storage: str) -> TrainedPack:
    """Runs a Ray Train fit for a pack and waits for it.

    A fit of the same pack that was cut continues from its last checkpoint in `storage`.
    """
    for name, value in TRAIN_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    actors = start_counterfactual_actors(job, plan.counterfactual_actors, COUNTERFACTUAL_CPUS)
    trainer = _Trainer(
        _train_worker,
        train_loop_config={"job": job, "counterfactual_actors": actors},
        scaling_config=train.ScalingConfig(
            num_workers=1,
            use_gpu=plan.gpus_per_worker > 0,
            resources_per_worker=_worker_resources(plan),
        ),
        run_config=train.RunConfig(
            name=job.pack.name,
            storage_path=storage,
            checkpoint_config=train.CheckpointConfig(num_to_keep=1),
            failure_config=train.FailureConfig(max_failures=MAX_WORKER_FAILURES),
        ),
    )
    checkpoint = trainer.fit().checkpoint
    if checkpoint is None:
        raise RuntimeError(f"{job.pack.label}: the Train worker ended without a checkpoint")
    with checkpoint.as_directory() as directory:
        curves = pd.read_parquet(Path(directory) / _CURVES)
        wall_s = torch.load(Path(directory) / _STATE, weights_only=True)["wall_s"]
        return TrainedPack(load_policy(Path(directory) / _POLICIES), curves, wall_s)


def _worker_resources(plan: ResourcePlan) -> dict[str, float]:
    resources = {"CPU": WORKER_CPUS}
    return {**resources, "GPU": plan.gpus_per_worker} if plan.gpus_per_worker else resources


def _train_worker(config: dict[str, Any]) -> None:
    """Trains until the last step, with a checkpoint every `checkpoint_every` steps."""
    job: FineTuneJob = config["job"]
    torch.set_num_threads(1)
    source = ActorSource(config["counterfactual_actors"]) if config["counterfactual_actors"] else None
    learner = make_learner(job, "cuda" if torch.cuda.is_available() else "cpu", source)
    recorder = CurveRecorder(job.pack)
    spent = _restore(learner, recorder)
    started = time.perf_counter()
    steps = job.config.finetune.steps
    while learner.step < steps:
        every = job.config.finetune.checkpoint_every
        learner.train(min(steps, (learner.step // every + 1) * every), recorder)
        _report(learner, recorder, spent + time.perf_counter() - started)


def _restore(learner: Learner, recorder: CurveRecorder) -> float:
    """Continues from the checkpoint of a worker that was lost, if there is one; seconds spent before."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return 0.0
    with checkpoint.as_directory() as directory:
        state = torch.load(Path(directory) / _STATE, map_location=learner.device, weights_only=True)
        learner.load_state_dict(state["learner"])
        recorder.restore(pd.read_parquet(Path(directory) / _CURVES))
    return state["wall_s"]


def _report(learner: Learner, recorder: CurveRecorder, wall_s: float) -> None:
    """Saves a checkpoint through Ray Train."""
    with tempfile.TemporaryDirectory() as directory:
        torch.save({"learner": learner.state_dict(), "wall_s": wall_s}, Path(directory) / _STATE)
        recorder.frame().to_parquet(Path(directory) / _CURVES, index=False)
        save_policy(learner.policies(), Path(directory) / _POLICIES, PolicyHeader(task=""))
        checkpoint = train.Checkpoint.from_directory(directory)
        train.report({"step": learner.step, "wall_s": wall_s}, checkpoint=checkpoint)

"""The Ray Train worker that fine-tunes one pack of cells as a population."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from ray import train
from ray.train.torch import TorchTrainer

from prefine_ray.config import MethodSettings
from prefine_ray.job import CurveRecorder, FineTuneJob, make_learner
from prefine_ray.orchestration.actors import ActorSource, start_counterfactual_actors
from prefine_ray.orchestration.cluster import COUNTERFACTUAL_CPUS, WORKER_CPUS, ResourcePlan
from prefine_ray.policy import GaussianPolicy, PolicyHeader, load_policy, save_policy
from prefine_ray.population import PopulationLearner

_STATE, _CURVES, _POLICIES, _WATCHED = "state.pt", "curves.parquet", "population.safetensors", "watched.parquet"
MAX_WORKER_FAILURES = 3


@dataclass(frozen=True)
class TrainedPack:
    """The outcome of a fit."""

    policies: GaussianPolicy
    curves: pd.DataFrame
    wall_s: float
    step: int  # the last gradient step
    watched: pd.DataFrame  # what the watch saw


class Watch(Protocol):
    """Looks at a population while it trains, and may end the training early."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The gradient steps after which it looks."""

    def look(self, policies: GaussianPolicy, step: int) -> pd.DataFrame:
        """Rows of what it sees; runs in the Train worker."""

    def stops(self, seen: pd.DataFrame) -> bool:
        """Whether the rows of all looks so far end the training."""


def train_pack(job: FineTuneJob, plan: ResourcePlan, storage: str, watch: Watch | None = None) -> TrainedPack:
    """Runs a Ray Train fit for a pack and waits for it.

    A fit of the same pack that was cut continues from its last checkpoint in `storage`. A fit that `watch` stops
    ends like any other, so that its resources come back (a Tune trial that is killed leaks those of its fit).
    """
    wanted = plan.counterfactual_actors if job.needs_source else 0
    actors = start_counterfactual_actors(job, wanted, COUNTERFACTUAL_CPUS)
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"job": job, "counterfactual_actors": actors, "watch": watch},
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
        state = torch.load(Path(directory) / _STATE, weights_only=True)
        return TrainedPack(
            policies=load_policy(Path(directory) / _POLICIES),
            curves=pd.read_parquet(Path(directory) / _CURVES),
            wall_s=state["wall_s"],
            step=state["learner"]["step"],
            watched=pd.read_parquet(Path(directory) / _WATCHED),
        )


def _worker_resources(plan: ResourcePlan) -> dict[str, float]:
    resources = {"CPU": WORKER_CPUS}
    return {**resources, "GPU": plan.gpus_per_worker} if plan.gpus_per_worker else resources


def _train_worker(config: dict[str, Any]) -> None:
    """Trains until the last step or until the watch stops it, with a checkpoint every `checkpoint_every` steps."""
    job: FineTuneJob = config["job"]
    watch: Watch | None = config["watch"]
    torch.set_num_threads(1)
    source = ActorSource(config["counterfactual_actors"]) if config["counterfactual_actors"] else None
    learner = make_learner(job, "cuda" if torch.cuda.is_available() else "cpu", source)
    recorder = CurveRecorder(job.pack)
    spent, watched = _restore(learner, recorder)
    started = time.perf_counter()
    looks = watch.steps if watch else ()
    while learner.step < job.settings.steps and not (watch and watch.stops(watched)):
        learner.train(_next_stop(learner.step, job.settings, looks), recorder)
        if watch and learner.step in looks:
            watched = pd.concat([watched, watch.look(learner.policies(), learner.step)], ignore_index=True)
        _report(learner, recorder, watched, spent + time.perf_counter() - started)


def _next_stop(step: int, settings: MethodSettings, looks: tuple[int, ...]) -> int:
    """The next step after which there is something to do: a checkpoint, a look, the end."""
    checkpoint = (step // settings.checkpoint_every + 1) * settings.checkpoint_every
    return min([settings.steps, checkpoint, *(look for look in looks if look > step)])


def _restore(learner: PopulationLearner, recorder: CurveRecorder) -> tuple[float, pd.DataFrame]:
    """Continues from the checkpoint of a worker that was lost, if there is one: seconds spent, what a watch saw."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return 0.0, pd.DataFrame()
    with checkpoint.as_directory() as directory:
        state = torch.load(Path(directory) / _STATE, map_location=learner.device, weights_only=True)
        learner.load_state_dict(state["learner"])
        recorder.restore(pd.read_parquet(Path(directory) / _CURVES))
        return state["wall_s"], pd.read_parquet(Path(directory) / _WATCHED)


def _report(learner: PopulationLearner, recorder: CurveRecorder, watched: pd.DataFrame, wall_s: float) -> None:
    """Saves a checkpoint through Ray Train."""
    with tempfile.TemporaryDirectory() as directory:
        torch.save({"learner": learner.state_dict(), "wall_s": wall_s}, Path(directory) / _STATE)
        recorder.frame().to_parquet(Path(directory) / _CURVES, index=False)
        watched.to_parquet(Path(directory) / _WATCHED, index=False)
        save_policy(learner.policies(), Path(directory) / _POLICIES, PolicyHeader(task=""))
        checkpoint = train.Checkpoint.from_directory(directory)
        train.report({"step": learner.step, "wall_s": wall_s}, checkpoint=checkpoint)

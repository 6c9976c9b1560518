"""The Ray Train worker that fine-tunes one pack of cells as a population."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import ray
import torch
from ray import PlacementGroupID, train
from ray.train.torch import TorchTrainer
from ray.util.placement_group import PlacementGroup, remove_placement_group

from prefine_ray.files import write_text
from prefine_ray.job import CurveRecorder, FineTuneJob, make_learner
from prefine_ray.orchestration.actors import ActorSource, start_counterfactual_actors
from prefine_ray.orchestration.cluster import ROLE_LABEL, ResourcePlan
from prefine_ray.orchestration.failures import PackError, full_text, is_transient
from prefine_ray.policy import GaussianPolicy, PolicyHeader, load_policy, save_policy
from prefine_ray.population import PopulationLearner

_STATE, _CURVES, _POLICIES = "state.pt", "curves.parquet", "population.safetensors"
_ERROR = "error.txt"  # the only file of the checkpoint of a fit that failed
_RESERVATION = "placement_group"  # in the fit's folder: the id of what its latest worker reserved
MAX_WORKER_FAILURES = 3


@dataclass(frozen=True)
class TrainedPack:
    """The outcome of a fit."""

    policies: GaussianPolicy
    curves: pd.DataFrame
    wall_s: float


def train_pack(job: FineTuneJob, plan: ResourcePlan, storage: str) -> TrainedPack:
    """Runs a Ray Train fit for a pack and waits for it.

    A fit of the same pack that was cut continues from its last checkpoint in `storage`.

    Raises:
        PackError: fine-tuning raised an error that would come again.
        TrainingFailedError: workers were lost again and again.
    """
    _recover_storage(Path(storage) / job.pack.name)
    actors = start_counterfactual_actors(job, plan) if job.needs_source else []
    placement: dict[str, Any] = {"label_selector": {ROLE_LABEL: "learner"}} if plan.learner_label else {}
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={"job": job, "counterfactual_actors": actors, "folder": str(Path(storage) / job.pack.name)},
        scaling_config=train.ScalingConfig(
            num_workers=1,
            use_gpu=plan.gpus_per_worker > 0,
            resources_per_worker=plan.worker_resources,
            **placement,
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
        error = Path(directory) / _ERROR
        if error.exists():
            raise PackError(error.read_text())
        curves = pd.read_parquet(Path(directory) / _CURVES)
        wall_s = torch.load(Path(directory) / _STATE, weights_only=True)["wall_s"]
        return TrainedPack(load_policy(Path(directory) / _POLICIES, allow_diverged=True), curves, wall_s)


def _recover_storage(folder: Path) -> None:
    """Makes the storage of a fit that was cut fit for going on.

    The worker's reservation of a trial that died with its node may still be held: Ray frees it only where the
    dashboard runs. And Ray Train writes its list of checkpoints in place: a half-written one would make every later
    fit fail, so that this fit has to begin again.
    """
    reserved = folder / _RESERVATION
    if reserved.exists():
        group = ray.util.placement_group_table().get(reserved.read_text())
        if group and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(reserved.read_text())))
    snapshot = folder / "checkpoint_manager_snapshot.json"
    try:
        if snapshot.exists():
            json.loads(snapshot.read_text())
    except ValueError:
        shutil.rmtree(folder)


def _train_worker(config: dict[str, Any]) -> None:
    """Trains; an error that would come again ends the fit with a checkpoint that holds its traceback."""
    group = ray.util.get_current_placement_group()
    if group is not None:
        write_text(Path(config["folder"]) / _RESERVATION, group.id.hex())
    try:
        _train(config)
    except Exception as error:
        if is_transient(error):
            raise
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / _ERROR).write_text(full_text(error))
            train.report({"failed": True}, checkpoint=train.Checkpoint.from_directory(directory))


def _train(config: dict[str, Any]) -> None:
    """Trains until the last step, with a checkpoint every `checkpoint_every` steps."""
    job: FineTuneJob = config["job"]
    torch.set_num_threads(1)
    source = ActorSource(config["counterfactual_actors"]) if config["counterfactual_actors"] else None
    learner = make_learner(job, "cuda" if torch.cuda.is_available() else "cpu", source)
    recorder = CurveRecorder(job.pack)
    spent = _restore(learner, recorder)
    started = time.perf_counter()
    steps, every = job.settings.steps, job.settings.checkpoint_every
    while learner.step < steps:
        learner.train(min(steps, (learner.step // every + 1) * every), recorder)
        _report(learner, recorder, spent + time.perf_counter() - started)


def _restore(learner: PopulationLearner, recorder: CurveRecorder) -> float:
    """Continues from the checkpoint of a worker that was lost, if there is one; seconds spent before."""
    checkpoint = train.get_checkpoint()
    if checkpoint is None:
        return 0.0
    with checkpoint.as_directory() as directory:
        state = torch.load(Path(directory) / _STATE, map_location=learner.device, weights_only=True)
        learner.load_state_dict(state["learner"])
        recorder.restore(pd.read_parquet(Path(directory) / _CURVES))
    return state["wall_s"]


def _report(learner: PopulationLearner, recorder: CurveRecorder, wall_s: float) -> None:
    """Saves a checkpoint through Ray Train."""
    with tempfile.TemporaryDirectory() as directory:
        torch.save({"learner": learner.state_dict(), "wall_s": wall_s}, Path(directory) / _STATE)
        recorder.frame().to_parquet(Path(directory) / _CURVES, index=False)
        save_policy(learner.policies(), Path(directory) / _POLICIES, PolicyHeader(task=""))
        checkpoint = train.Checkpoint.from_directory(directory)
        train.report({"step": learner.step, "wall_s": wall_s}, checkpoint=checkpoint)

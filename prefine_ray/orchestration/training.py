"""The Ray Train worker that fine-tunes one pack of cells as a population."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import ray
import torch
from ray import PlacementGroupID, train
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.util.placement_group import PlacementGroup, remove_placement_group

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import file_digest, write_text
from prefine_ray.core.provenance import made_on
from prefine_ray.core.tables import read_table, write_table
from prefine_ray.core.tensor_files import load_tree, save_tree
from prefine_ray.experiment.config import MethodSettings
from prefine_ray.experiment.job import CurveRecorder, TrainingJob, make_learner
from prefine_ray.methods.population import PopulationLearner
from prefine_ray.orchestration.cluster import ROLE_LABEL, ResourcePlan
from prefine_ray.orchestration.failures import WORKER_FAILURES, PackError, lasting_text
from prefine_ray.orchestration.ray_actors import ActorSource, start_counterfactual_actors
from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.results.checkpoints import DIGESTS, ERROR, check_checkpoint, stored_checkpoints
from prefine_ray.tasks.registration import add_tasks

_STATE, _CURVES, _POLICIES, _WATCHED = (
    "state.safetensors",
    "curves.parquet",
    "population.safetensors",
    "watched.parquet",
)
_log = logging.getLogger(__name__)
_RESERVATION = "placement_group"  # in the fit's folder: the id of what its latest worker reserved
# Ray Train's own settings, unless the environment has others. A fit ends when its controller looks after the worker
# (every 2 s by default). The watcher for nodes about to be reclaimed is one more process for every fit, and a fit on a
# lost node resumes from its last checkpoint anyway.
TRAIN_ENVIRONMENT = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}


@dataclass(frozen=True)
class TrainedPack:
    """The outcome of a fit."""

    policies: GaussianPolicy
    curves: pd.DataFrame
    wall_s: float
    step: int  # the last gradient step
    watched: pd.DataFrame  # what the watch saw
    machine: dict[str, str] = field(default_factory=dict)  # `made_on` of the worker


class _Trainer(TorchTrainer):
    """A trainer with two processes fewer for every fit.

    Ray Data's manager: there is no such data. The cleaner of reservations, which watches the controller by way of the
    dashboard and does nothing without one: `_recover_storage` frees them.
    """

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [one for one in callbacks if not isinstance(one, DatasetsCallback | PlacementGroupCleanerCallback)]


class Watch(Protocol):
    """Looks at a population while it trains, and may end the training early."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The gradient steps after which it looks."""

    def look(self, policies: GaussianPolicy, step: int) -> pd.DataFrame:
        """Rows of what it sees; runs in the Train worker."""

    def stops(self, seen: pd.DataFrame) -> bool:
        """Whether the rows of all looks so far end the training."""


class _LostWorkers(train.UserCallback):
    """Tells why a Train worker was lost, and how often; runs in the controller of the fit."""

    def __init__(self, log: Callable[[str], None]):
        self._log, self._count = log, 0

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """The fit is tried again from its last checkpoint, or ends."""
        self._count += 1
        reasons = "\n".join(str(error) for error in worker_exceptions.values())
        with suppress(OSError):  # the trial meets a full disk too, and says so
            self._log(f"its Train worker was lost {self._count} of at most {WORKER_FAILURES} times\n{reasons}")


def train_pack(
    job: TrainingJob,
    plan: ResourcePlan,
    storage: str,
    watch: Watch | None = None,
    log: Callable[[str], None] = _log.warning,
) -> TrainedPack:
    """Runs a Ray Train fit for a pack and waits for it.

    An interrupted fit of the same pack resumes from its last checkpoint in `storage`. A fit that `watch` stops
    ends like any other, so that its resources come back (a Tune trial that is killed leaks those of its fit). `log` is
    told in another process of every worker that is lost.

    Raises:
        PackError: fine-tuning raised an error that would come again.
        TrainingFailedError: workers were lost again and again.
    """
    for name, value in TRAIN_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _recover_storage(Path(storage) / job.pack.name)
    actors = start_counterfactual_actors(job, plan) if job.mode is not None else []
    placement: dict[str, Any] = {"label_selector": {ROLE_LABEL: "learner"}} if plan.learner_label else {}
    trainer = _Trainer(
        _train_worker,
        train_loop_config={
            "job": job,
            "counterfactual_actors": actors,
            "folder": str(Path(storage) / job.pack.name),
            "watch": watch,
        },
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
            failure_config=train.FailureConfig(max_failures=WORKER_FAILURES),
            callbacks=[_LostWorkers(log)],  # type: ignore[list-item]  # Train V2 takes such ones
        ),
    )
    checkpoint = trainer.fit().checkpoint
    if checkpoint is None:
        raise RuntimeError(f"{job.pack.label}: the Train worker ended without a checkpoint")
    with checkpoint.as_directory() as directory:
        return read_checkpoint(Path(directory))


def _recover_storage(folder: Path) -> None:
    """Makes the storage of an interrupted fit ready to resume.

    The worker's reservation of a trial that died with its node may still be held: Ray frees it only where the
    dashboard runs. And a checkpoint that was cut or altered, or a half-written list of them, would make every later
    fit fail: then this fit begins again. Its rows are the same.

    Raises:
        PackError: the fit ended with an error that would come again.
    """
    reserved = folder / _RESERVATION
    if reserved.exists():
        group = ray.util.placement_group_table().get(reserved.read_text(errors="replace"))
        if group and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(reserved.read_text())))
    try:
        for checkpoint in stored_checkpoints(folder):
            read_checkpoint(checkpoint)
    except DamagedFileError as error:
        _log.warning("%s; this fit begins again", error)
        shutil.rmtree(folder)


def _train_worker(config: dict[str, Any]) -> None:
    """Trains; an error that would come again ends the fit with a checkpoint that holds its traceback."""
    group = ray.util.get_current_placement_group()
    if group is not None:
        write_text(Path(config["folder"]) / _RESERVATION, group.id.hex())
    try:
        _train(config)
    except Exception as error:
        text = lasting_text(error)
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / ERROR).write_text(text)
            train.report({"failed": True}, checkpoint=train.Checkpoint.from_directory(directory))


def _train(config: dict[str, Any]) -> None:
    """Trains until the last step or until the watch stops it, with a checkpoint every `checkpoint_every` steps."""
    job: TrainingJob = config["job"]
    watch: Watch | None = config["watch"]
    add_tasks(job.inputs.definitions)
    torch.set_num_threads(1)
    started = time.perf_counter()  # before the learner, which trains the clones that the selection asks for
    source = ActorSource(config["counterfactual_actors"]) if config["counterfactual_actors"] else None
    learner = make_learner(job, "cuda" if torch.cuda.is_available() else "cpu", source)
    recorder = CurveRecorder(job.pack)
    spent, watched = _restore(learner, recorder)
    looks = watch.steps if watch else ()
    while learner.step < job.pack.settings.steps and not (watch and watch.stops(watched)):
        learner.train(_next_stop(learner.step, job.pack.settings, looks), recorder)
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
        found = read_checkpoint(Path(directory))
        learner.load_state_dict(load_tree(Path(directory) / _STATE)["learner"])
        recorder.restore(found.curves)
        return found.wall_s, found.watched


def _report(learner: PopulationLearner, recorder: CurveRecorder, watched: pd.DataFrame, wall_s: float) -> None:
    """Saves a checkpoint through Ray Train."""
    with tempfile.TemporaryDirectory() as directory:
        write_checkpoint(Path(directory), learner, recorder, watched, wall_s)
        checkpoint = train.Checkpoint.from_directory(directory)
        train.report({"step": learner.step, "wall_s": wall_s}, checkpoint=checkpoint)


def write_checkpoint(
    folder: Path, learner: PopulationLearner, recorder: CurveRecorder, watched: pd.DataFrame, wall_s: float
) -> None:
    """What a lost fit resumes from, and what a finished one is."""
    save_tree(folder / _STATE, {"learner": learner.state_dict(), "wall_s": wall_s, "machine": made_on()})
    write_table(folder / _CURVES, recorder.frame())
    write_table(folder / _WATCHED, watched)
    save_policy(learner.policies(), folder / _POLICIES, PolicyHeader(task=""))
    files = {name: file_digest(folder / name) for name in (_STATE, _CURVES, _WATCHED, _POLICIES)}
    write_text(folder / DIGESTS, json.dumps(files))


def read_checkpoint(folder: Path) -> TrainedPack:
    """The outcome of a fit, also where the worker had a GPU and the reader has none.

    Raises:
        PackError: fine-tuning raised an error that would come again.
        DamagedFileError: a file of it was cut, altered or lost.
    """
    error = folder / ERROR
    if error.exists():
        raise PackError(error.read_text(errors="replace"))
    check_checkpoint(folder, (_STATE, _CURVES, _WATCHED, _POLICIES))
    state = load_tree(folder / _STATE)
    return TrainedPack(
        policies=load_policy(folder / _POLICIES, allow_diverged=True),
        curves=read_table(folder / _CURVES),
        wall_s=state["wall_s"],
        step=state["learner"]["step"],
        watched=read_table(folder / _WATCHED),
        machine=state.get("machine", {}),
    )

"""One fine-tuning job: from a pack of cells and its inputs to a trained population, without Ray."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from prefine_ray.core.seeding import derive, numpy_generator
from prefine_ray.data.counterfactuals import CounterfactualSource, Mode
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.hdf5 import read_dsrl, read_summary
from prefine_ray.data.labels import read_labels
from prefine_ray.data.preferences import NotEnoughTrajectoriesError, PreferenceSets, split_by_threshold
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.experiment.cells import CLONING_METHODS, FINE_TUNING_METHODS, Cell, Pack, TaskInputs, make_cells
from prefine_ray.experiment.config import MethodSettings, SweepConfig
from prefine_ray.methods.bc import BCConfig, BehaviouralCloning
from prefine_ray.methods.cpl import CPL
from prefine_ray.methods.population import Member, PopulationLearner
from prefine_ray.methods.prefine.learner import Learner
from prefine_ray.methods.prefine.settings import FineTuneConfig
from prefine_ray.methods.selection import Choice, keep_preferred
from prefine_ray.methods.trac import TraC
from prefine_ray.policies.files import load_policy
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.rollouts.counterfactuals import NO_RESET_SEEDS, CounterfactualGenerator, LocalSource, NoResetSeedsError
from prefine_ray.tasks.spec import get_task


@dataclass(frozen=True)
class FineTuneJob:
    """What a fine-tuning worker needs to know; small and picklable."""

    pack: Pack
    inputs: TaskInputs
    config: SweepConfig

    @property
    def settings(self) -> MethodSettings:
        """The settings of the pack's method."""
        return self.config.settings(self.pack.method)

    @property
    def mode(self) -> Mode:
        """Which counterfactuals a source has to generate."""
        return "closed_loop" if self.config.finetune.counterfactuals == "closed_loop" else "state_matched"

    @property
    def needs_source(self) -> bool:
        """Whether the learner asks a source for counterfactuals."""
        return self.pack.method in FINE_TUNING_METHODS and self.config.finetune.counterfactuals != "learner"


def trajectory_sets(config: SweepConfig, cell: Cell, summary: EpisodeSummary) -> PreferenceSets:
    """The episodes that one cell learns from: preferred and dispreferred; or those to imitate, and none."""
    chosen = config.preferences
    if cell.method in CLONING_METHODS:
        imitated = np.flatnonzero(summary.costs <= (math.inf if cell.method == "bc_all" else cell.threshold))
        return PreferenceSets(imitated, imitated[:0])
    if cell.preferred == "labels":
        assert chosen.labels is not None
        return read_labels(chosen.labels.format(task=cell.task), len(summary))
    return split_by_threshold(
        summary,
        cell.threshold,
        preferred="best" if cell.preferred == "best" else "random",
        num_preferred=cell.num_preferred,
        num_dispreferred=chosen.num_dispreferred,
        rng=numpy_generator(config.seed, cell.task, cell.seed, "preferences"),
        label_noise=cell.label_noise,
        margin=chosen.margin_of(cell.preferred),
    )


def check_inputs(config: SweepConfig, inputs: Mapping[str, TaskInputs]) -> None:
    """Draws every cell's trajectories before anything is trained.

    Raises:
        NotEnoughTrajectoriesError: cells have too few; the message names every such task and threshold, and a remedy.
        LabelFileError: a file of labels cannot be used.
        NoResetSeedsError: closed-loop counterfactuals of data without reset seeds.
    """
    cells: dict[str, list[Cell]] = {}
    for cell in make_cells(config, inputs):
        if cell.weight == 0.0 or math.isnan(cell.weight):  # weight 0 is always there and draws as the others do
            cells.setdefault(cell.task, []).append(cell)
    problems: dict[str, str] = {}
    for task, of_task in cells.items():
        summary = read_summary(inputs[task].data_path, task)
        closed_loop = config.for_task(task).finetune.counterfactuals == "closed_loop"
        if closed_loop and summary.seeds is None and any(cell.method in FINE_TUNING_METHODS for cell in of_task):
            raise NoResetSeedsError(f"{inputs[task].data_path}: {NO_RESET_SEEDS}")
        for cell in of_task:
            if problem := _problem(config.for_task(task), cell, summary):
                problems.setdefault(f"{task}, {problem}", task)
    if problems:
        lines, task = "\n".join(f"- {problem}" for problem in problems), next(iter(problems.values()))
        raise NotEnoughTrajectoriesError(
            f"the data do not hold the trajectories that this sweep needs:\n{lines}\n"
            "Lower preferences.num_preferred or num_dispreferred (or the method's segment), choose other thresholds, "
            f"or collect more (data.episodes). See what there is: prefine data describe --task {task}"
        )


def _problem(config: SweepConfig, cell: Cell, summary: EpisodeSummary) -> str | None:
    """Why a cell cannot be trained, in a line or two; None if it can."""
    try:
        sets = trajectory_sets(config, cell, summary)
    except NotEnoughTrajectoriesError as error:
        return str(error).split("\nCosts of")[0]
    settings = config.settings(cell.method)
    segment = 1 if isinstance(settings, BCConfig) else settings.segment
    for side in (sets.preferred,) if cell.method in CLONING_METHODS else (sets.preferred, sets.dispreferred):
        if not (summary.lengths[side] >= segment).any():
            what = f"of {segment} steps, as {cell.method} needs" if len(side) else "under the threshold to imitate"
            return f"threshold {cell.threshold:g}: no trajectory {what}"
    return None


def load_members(job: FineTuneJob) -> tuple[Trajectories, list[Member]]:
    """The episodes that the pack learns from, and its members with indices into them."""
    trajectories, members = _all_members(job)
    if job.pack.method not in FINE_TUNING_METHODS:
        return trajectories, members
    choices = [_choice(job.config.finetune, cell) for cell in job.pack.cells]
    return trajectories, keep_preferred(trajectories, members, choices, load_policy(job.inputs.base_path))


def _choice(settings: FineTuneConfig, cell: Cell) -> Choice:
    if cell.method == "sft":
        return Choice()  # all
    return Choice(
        share=settings.share_kept(cell.preferred),
        by=settings.kept_by(cell.preferred),
        narrowed=settings.share_narrowed(cell.preferred, cell.weight),
        narrowed_by=settings.narrowed_by(cell.preferred),
    )


def _all_members(job: FineTuneJob) -> tuple[Trajectories, list[Member]]:
    summary = read_summary(job.inputs.data_path, job.pack.task)
    sets = [trajectory_sets(job.config, cell, summary) for cell in job.pack.cells]
    used = np.unique(np.concatenate([side for s in sets for side in (s.preferred, s.dispreferred)]))
    members = [
        Member(
            weight=0.0 if cell.method == "sft" else cell.weight,
            preferred=np.searchsorted(used, s.preferred),
            dispreferred=np.searchsorted(used, s.dispreferred),
            seed=derive(job.config.seed, cell.task, cell.seed, "learner"),
        )
        for cell, s in zip(job.pack.cells, sets, strict=True)
    ]
    return read_dsrl(job.inputs.data_path, job.pack.task, used), members


def make_learner(
    job: FineTuneJob, device: str = "cpu", source: CounterfactualSource | None = None
) -> PopulationLearner:
    """The learner of a job's method; without a `source`, counterfactuals that it asks for are made in this process."""
    trajectories, members = load_members(job)
    config, method = job.config, job.pack.method
    if method in CLONING_METHODS:
        return BehaviouralCloning(trajectories, members, config.bc, device)
    if method == "cpl":
        return CPL(trajectories, members, config.cpl, device)
    if method == "trac":
        return TraC(trajectories, members, config.trac, get_task(job.pack.task).suite, device)
    if source is None and job.needs_source:
        source = LocalSource(CounterfactualGenerator(job.pack.task, trajectories, job.mode))
    return Learner(load_policy(job.inputs.base_path), trajectories, members, config.finetune, device, source)


class CurveRecorder:
    """Collects the metrics of logging steps as rows, one per cell and step."""

    def __init__(self, pack: Pack):
        self._pack = pack
        self._rows: list[dict[str, Any]] = []

    def __call__(self, step: int, metrics: dict[str, torch.Tensor]) -> None:
        """Adds the metrics [P] of one step."""
        columns = {name: values.tolist() for name, values in metrics.items()}
        for index, cell in enumerate(self._pack.cells):
            values = {name: column[index] for name, column in columns.items()}
            self._rows.append({**cell.identity, "step": step, **values})

    def frame(self) -> pd.DataFrame:
        """What was recorded."""
        return pd.DataFrame(self._rows)

    def restore(self, frame: pd.DataFrame) -> None:
        """Goes on from what an earlier worker recorded."""
        self._rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def trial_rows(job: FineTuneJob, curves: pd.DataFrame, policies: GaussianPolicy, wall_s: float) -> pd.DataFrame:
    """One row per cell: how it ended, and its last training metrics."""
    last = curves.sort_values("step", kind="stable").groupby("cell").last()
    rows = []
    for cell, finite in zip(job.pack.cells, policies.finite_members(), strict=True):
        row = {
            **cell.identity,
            "status": "finished" if finite else "failed",
            "error": "" if finite else "diverged: the policy holds NaN or infinity",
            "steps": job.settings.steps,
            "wall_s": wall_s / len(job.pack.cells),
            **last.loc[cell.name].drop(labels=[*(k for k in cell.identity if k != "cell"), "step"]).to_dict(),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def policy_header(job: FineTuneJob, cell: Cell) -> PolicyHeader:
    """What the file of a fine-tuned policy says of itself."""
    made_by = {
        "command": "prefine sweep",
        **cell.identity,
        "data_digest": job.inputs.data_digest,
        "settings": job.settings.model_dump(mode="json"),
    }
    if cell.method in FINE_TUNING_METHODS:  # the others start from fresh weights
        made_by |= {"base": Path(job.inputs.base_path).name, "base_digest": job.inputs.base_digest}
    return PolicyHeader(task=cell.task, made_by=made_by)

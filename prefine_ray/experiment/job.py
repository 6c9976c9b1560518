"""One training job: from a pack of cells and its inputs to a trained population, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from prefine_ray.core.paths import path_of
from prefine_ray.core.provenance import made_with
from prefine_ray.core.seeding import derive, numpy_generator
from prefine_ray.data.counterfactuals import CounterfactualSource, Mode
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.hdf5 import read_dsrl, read_summary
from prefine_ray.data.labels import read_labels
from prefine_ray.data.pairs import crossed, is_pair_file, read_pairs
from prefine_ray.data.preferences import NotEnoughTrajectoriesError, PreferenceSets, split_by_threshold
from prefine_ray.data.trajectories import Trajectories, concatenate
from prefine_ray.experiment.cells import Cell, Pack
from prefine_ray.experiment.replicates import ReplicateInputs, TaskInputs
from prefine_ray.methods.population import Member, PopulationLearner
from prefine_ray.methods.registry import LearnerInputs, get_method
from prefine_ray.methods.selection import ALL, SelectionSettings, select_preferred
from prefine_ray.policies.files import load_policy
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader, stack
from prefine_ray.rollouts.counterfactuals import (
    NO_RESET_SEEDS,
    NOT_CLOSED_LOOP,
    CounterfactualGenerator,
    LocalSource,
    NoResetSeedsError,
)
from prefine_ray.tasks.spec import get_task


@dataclass(frozen=True)
class TrainingJob:
    """What a training worker needs to know; small and picklable."""

    pack: Pack
    inputs: TaskInputs

    @property
    def mode(self) -> Mode | None:
        """Which counterfactuals a source has to generate; None: the learner asks no source."""
        return self.pack.method.modes.get(self.pack.shared.get("counterfactuals", ""))

    def of(self, cell: Cell) -> ReplicateInputs:
        """What one cell of the pack starts from."""
        return self.inputs.of(cell.seed)

    @property
    def base_paths(self) -> list[str]:
        """The base policies of the pack, each once; `Member.base` numbers them."""
        return list(dict.fromkeys(self.of(cell).base_path for cell in self.pack.cells))


def drawn_sets(cell: Cell, summary: EpisodeSummary, episodes: Sequence[int] | None) -> PreferenceSets:
    """The episodes that one cell is trained on, as numbers of the data file.

    Args:
        cell: any but the base policy's.
        summary: of the whole file.
        episodes: the numbers of those that the cell's replicate has; None: all.

    Returns:
        The two sides; of a method on pairs, its pairs, in which an episode may come often, and on both sides.
    """
    if not get_method(cell.method).on_pairs:
        return _sides(cell, summary, episodes)
    path = _labels_path(cell)
    if path is not None and is_pair_file(path):
        pairs = read_pairs(path, len(summary)).decided()
        own = pairs if episodes is None else pairs.among(np.asarray(episodes))
        if not len(own):
            raise NotEnoughTrajectoriesError(f"seed {cell.seed} has no pair with a better one among its episodes")
        return PreferenceSets(own.better, own.worse)
    return crossed(_sides(cell, summary, episodes))


def _sides(cell: Cell, summary: EpisodeSummary, episodes: Sequence[int] | None) -> PreferenceSets:
    """The preferred and the dispreferred episodes of a cell."""
    if (path := _labels_path(cell)) is not None:
        labelled = read_labels(path, len(summary))
        return labelled if episodes is None else _among(labelled, episodes, cell)
    if episodes is None:
        return trajectory_sets(cell, summary)
    own = np.asarray(episodes, dtype=np.int64)
    sets = trajectory_sets(cell, summary.select(own))
    return PreferenceSets(own[sets.preferred], own[sets.dispreferred])


def _labels_path(cell: Cell) -> Path | None:
    """The file of labels or pairs that people gave; None where a threshold draws the sides."""
    if cell.axes.get("preferred") != "labels":
        return None
    assert cell.labels.labels is not None
    return path_of(cell.labels.labels, cell.task)


def _among(labelled: PreferenceSets, episodes: Sequence[int], cell: Cell) -> PreferenceSets:
    """The labelled episodes that a replicate has."""
    sides = PreferenceSets(*(np.intersect1d(side, episodes) for side in (labelled.preferred, labelled.dispreferred)))
    if not (len(sides.preferred) and len(sides.dispreferred)):
        raise NotEnoughTrajectoriesError(
            f"seed {cell.seed} has {len(sides.preferred)} preferred and {len(sides.dispreferred)} dispreferred labels "
            "among its episodes; label more, or write data.draws: shared"
        )
    return sides


def trajectory_sets(cell: Cell, summary: EpisodeSummary) -> PreferenceSets:
    """The episodes, by threshold: preferred and dispreferred; or those to imitate, and none."""
    trains_on = get_method(cell.method).trains_on
    if trains_on != "preferences":
        limit = np.inf if trains_on == "all" else cell.axes["threshold"]
        imitated = np.flatnonzero(summary.costs <= limit)
        return PreferenceSets(imitated, imitated[:0])
    rule = cell.labels
    return split_by_threshold(
        summary,
        cell.axes["threshold"],
        preferred=cell.axes["preferred"],
        num_preferred=cell.axes["num_preferred"],
        num_dispreferred=rule.num_dispreferred,
        rng=numpy_generator(cell.experiment_seed, cell.task, cell.seed, "preferences"),
        label_noise=cell.axes["label_noise"],
        margin=rule.margin,
    )


def check_inputs(cells: Sequence[Cell], inputs: Mapping[str, TaskInputs]) -> None:
    """Draws every cell's trajectories before anything is trained.

    Raises:
        NotEnoughTrajectoriesError: cells have too few; the message names every such task and threshold, and a remedy.
        LabelFileError: a file of labels cannot be used.
        NoResetSeedsError: closed-loop counterfactuals of data without reset seeds.
    """
    by_task: dict[str, dict[Any, Cell]] = {}
    for cell in cells:  # cells that differ in the weight alone draw the same
        drawn = tuple((name, value) for name, value in cell.axes.items() if name != "weight")
        by_task.setdefault(cell.task, {}).setdefault((cell.method, cell.seed, drawn), cell)
    problems: dict[str, str] = {}
    for task, of_task in by_task.items():
        summaries = {path: read_summary(path, task) for path in inputs[task].data_paths}
        for cell in of_task.values():
            own = inputs[task].of(cell.seed)
            if _is_closed_loop(cell) and not get_task(task).has_environment:
                raise NoResetSeedsError(f"{task} has no environment; {NOT_CLOSED_LOOP}")
            if _is_closed_loop(cell) and summaries[own.data_path].seeds is None:
                raise NoResetSeedsError(f"{own.data_path}: {NO_RESET_SEEDS}")
            if problem := _problem(cell, summaries[own.data_path], own.episodes):
                problems.setdefault(f"{task}, {problem}", task)
    if problems:
        lines, task = "\n".join(f"- {problem}" for problem in problems), next(iter(problems.values()))
        raise NotEnoughTrajectoriesError(
            f"the data do not hold the trajectories that this sweep needs:\n{lines}\n"
            "Lower preferences.num_preferred or num_dispreferred (or the method's segment), choose other thresholds, "
            "or collect more (data.episodes); where data.draws divides one file, overlapping or shared leave more to "
            f"each seed. See what there is: prefine data describe --task {task}"
        )


def _is_closed_loop(cell: Cell) -> bool:
    return get_method(cell.method).modes.get(cell.axes.get("counterfactuals", "")) == "closed_loop"


def _problem(cell: Cell, summary: EpisodeSummary, episodes: Sequence[int] | None) -> str | None:
    """Why a cell cannot be trained, in a line or two; None if it can."""
    try:
        sets = drawn_sets(cell, summary, episodes)
    except NotEnoughTrajectoriesError as error:
        return error.short
    method, settings = get_method(cell.method), cell.settings
    assert settings is not None
    least = settings.least_steps
    for side in (sets.preferred, sets.dispreferred) if method.needs_dispreferred else (sets.preferred,):
        if not (summary.lengths[side] >= least).any():
            what = f"of {least} steps, as {cell.method} needs" if len(side) else "under the threshold to imitate"
            return f"threshold {cell.axes.get('threshold', np.inf):g}: no trajectory {what}"
    return None


def load_trajectories(job: TrainingJob) -> tuple[Trajectories, list[PreferenceSets]]:
    """The episodes that the pack needs, and each cell's sides as numbers of them.

    Cells that share data and base policy share episodes; others have copies of their own.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index, cell in enumerate(job.pack.cells):
        groups.setdefault((job.of(cell).data_path, job.of(cell).base_path), []).append(index)
    parts: list[Trajectories] = []
    placed: dict[int, PreferenceSets] = {}
    for (path, _), indices in groups.items():
        before = sum(len(part) for part in parts)
        part, sets = _load_group(path, [(job.pack.cells[index], job.of(job.pack.cells[index])) for index in indices])
        moved = [PreferenceSets(before + one.preferred, before + one.dispreferred) for one in sets]
        placed |= dict(zip(indices, moved, strict=True))
        parts.append(part)
    return concatenate(parts), [placed[index] for index in range(len(job.pack.cells))]


def _load_group(path: str, cells: Sequence[tuple[Cell, ReplicateInputs]]) -> tuple[Trajectories, list[PreferenceSets]]:
    """The episodes of one file that some cells are trained on, and each cell's sides as numbers of them."""
    task = cells[0][0].task
    summary = read_summary(path, task)
    sets = [drawn_sets(cell, summary, inputs.episodes) for cell, inputs in cells]
    used = np.unique(np.concatenate([side for s in sets for side in (s.preferred, s.dispreferred)]))
    within = [PreferenceSets(*(np.searchsorted(used, side) for side in (s.preferred, s.dispreferred))) for s in sets]
    return read_dsrl(path, task, used), within


def make_members(job: TrainingJob, trajectories: Trajectories, sets: Sequence[PreferenceSets]) -> list[Member]:
    """The members of the pack's population, with the preferred trajectories that they are trained on."""
    members = [
        member(
            cell.task,
            cell.seed,
            s,
            weight=cell.axes.get("weight", 0.0),
            experiment_seed=cell.experiment_seed,
            base=job.base_paths.index(job.of(cell).base_path),
        )
        for cell, s in zip(job.pack.cells, sets, strict=True)
    ]
    selections = [cell.axes.get("selection", ALL) for cell in job.pack.cells]
    return selected(trajectories, members, selections, lambda: load_bases(job))


def member(
    task: str, seed: int, sets: PreferenceSets, *, weight: float = 0.0, experiment_seed: int = 0, base: int = 0
) -> Member:
    """A member with the random stream of its seed."""
    stream = derive(experiment_seed, task, seed, "learner")
    return Member(weight, sets.preferred, sets.dispreferred, stream, base)


def selected(
    trajectories: Trajectories,
    members: list[Member],
    selections: Sequence[SelectionSettings],
    bases: Callable[[], GaussianPolicy],
) -> list[Member]:
    """The members with what their selections leave; base policies are asked for where a rule needs them."""
    if all(selection == ALL for selection in selections):
        return members
    return select_preferred(trajectories, members, selections, bases())


def load_bases(job: TrainingJob) -> GaussianPolicy:
    """The base policies of the pack as one population."""
    return stack([load_policy(path) for path in job.base_paths])


def make_learner(
    job: TrainingJob, device: str = "cpu", source: CounterfactualSource | None = None
) -> PopulationLearner:
    """The learner of a job's method; without a `source`, counterfactuals that it asks for are made in this process."""
    trajectories, sets = load_trajectories(job)
    pack = job.pack
    inputs = LearnerInputs(
        task=get_task(pack.task),
        trajectories=trajectories,
        members=make_members(job, trajectories, sets),
        base=load_bases(job) if pack.method.needs_base else None,
        device=device,
        shared=pack.shared,
        mode=job.mode,
        source=source or local_source(pack.task, trajectories, job.mode),
    )
    return pack.method.learner(pack.settings, inputs)


def local_source(task: str, trajectories: Trajectories, mode: Mode | None) -> CounterfactualSource | None:
    """Makes counterfactuals in this process; None where the learner asks no source."""
    return None if mode is None else LocalSource(CounterfactualGenerator(task, trajectories, mode))


class CurveRecorder:
    """Collects the metrics of logging steps as rows, one per cell and step."""

    def __init__(self, pack: Pack):
        self._identities = [cell.identity for cell in pack.cells]
        self._rows: list[dict[str, Any]] = []

    def __call__(self, step: int, metrics: dict[str, torch.Tensor]) -> None:
        """Adds the metrics [P] of one step."""
        columns = {name: values.tolist() for name, values in metrics.items()}
        for index, identity in enumerate(self._identities):
            values = {name: column[index] for name, column in columns.items()}
            self._rows.append({**identity, "step": step, **values})

    def frame(self) -> pd.DataFrame:
        """What was recorded."""
        return pd.DataFrame(self._rows)

    def restore(self, frame: pd.DataFrame) -> None:
        """Continues what an earlier worker recorded."""
        self._rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def trial_rows(job: TrainingJob, curves: pd.DataFrame, policies: GaussianPolicy, wall_s: float) -> pd.DataFrame:
    """One row per cell: how it ended, and its last training metrics."""
    last = curves.sort_values("step", kind="stable").groupby("cell").last()
    rows = []
    for cell, finite in zip(job.pack.cells, policies.finite_members(), strict=True):
        row = {
            **cell.identity,
            "status": "finished" if finite else "failed",
            "error": "" if finite else "diverged: the policy holds NaN or infinity",
            "steps": job.pack.settings.steps,
            "wall_s": wall_s / len(job.pack.cells),
            **made_with(get_task(cell.task).suite),
            **last.loc[cell.name].drop(labels=[*(k for k in cell.identity if k != "cell"), "step"]).to_dict(),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def policy_header(job: TrainingJob, cell: Cell) -> PolicyHeader:
    """The metadata stored with the weights of a trained policy."""
    made_by = {
        "command": "prefine sweep",
        **cell.identity,
        "data_digest": job.of(cell).drawn_digest,
        "settings": job.pack.settings.model_dump(mode="json"),
    }
    if job.pack.method.needs_base:  # the others start from fresh weights
        made_by |= {"base": Path(job.of(cell).base_path).name, "base_digest": job.of(cell).base_digest}
    return PolicyHeader(task=cell.task, made_by=made_by)

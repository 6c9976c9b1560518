"""The cells of a sweep, each named by a hash of what determines its result, and the packs that train together.

A cell carries its final, plain settings: nothing downstream of the grid asks the configuration again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prefine_ray.core.digests import digest
from prefine_ray.core.files import file_digest
from prefine_ray.core.paths import path_of
from prefine_ray.core.provenance import physics
from prefine_ray.core.settings import MethodSettings
from prefine_ray.experiment.axes import Axis, Scalar, axes
from prefine_ray.experiment.config import LabelRule, SweepConfig
from prefine_ray.experiment.replicates import ReplicateInputs, TaskInputs
from prefine_ray.methods.registry import Method, get_method
from prefine_ray.tasks.spec import get_task

RESULT_VERSION = 3  # raise when a change of the code changes results
TEST, TUNING = "test", "tuning"  # splits: cells that are reported, and cells that the weight is picked on
COVERAGE = ("draws", "own_base")  # columns: what of a replicate is its own, see `replicates`
BASE = "base"  # what stands in the place of a method for the policy before fine-tuning


def identity_columns() -> tuple[str, ...]:
    """The columns that name a cell in every table of rows."""
    return ("cell", "method", "task", *axes(), "seed", "split", *COVERAGE)


@dataclass(frozen=True)
class Cell:
    """One point of the grid, with all that its training and its evaluation need to know."""

    name: str  # the hash
    method: str  # or BASE
    task: str
    seed: int
    experiment_seed: int
    episodes: int  # of its evaluation
    axes: Mapping[str, Any] = field(default_factory=dict)  # the values of the method's axes
    settings: MethodSettings | None = None  # of the method; None for the base policy
    labels: LabelRule = field(default_factory=LabelRule)  # for methods that train on preferences
    split: str = TEST  # or TUNING; does not determine the result
    draws: str = "shared"  # how the replicate's data were drawn; says what intervals over replicates cover
    own_base: bool = False  # whether the replicate has a base policy of its own
    conditions: tuple[str, ...] = ()  # that it may be evaluated under beside the plain one; as above

    columns: Mapping[str, Scalar] = field(default_factory=dict)  # of the rows: every axis that there is

    def __post_init__(self) -> None:
        """Fixes the columns where the grid is made: a worker may know fewer axes."""
        if not self.columns:
            object.__setattr__(self, "columns", {name: self._column(axis) for name, axis in axes().items()})

    @property
    def identity(self) -> dict[str, Any]:
        """The identity columns, with each axis' own word for "none" where the cell does not have it."""
        named = {"cell": self.name, "method": self.method, "task": self.task}
        coverage = {name: getattr(self, name) for name in COVERAGE}
        return {**named, **self.columns, "seed": self.seed, "split": self.split, **coverage}

    def _column(self, axis: Axis) -> Scalar:
        """An axis' value as it stands in the rows."""
        return axis.column(self.axes[axis.name]) if axis.name in self.axes else axis.none

    @property
    def is_control(self) -> bool:
        """Whether no preference loss acts: the weight is 0, or the method has none."""
        return not self.axes.get("weight")


@dataclass(frozen=True)
class Pack:
    """Cells of one task and of methods with the same learner, which one Train fit carries as one population."""

    name: str
    cells: tuple[Cell, ...]

    def __deepcopy__(self, memo: dict[int, Any]) -> Pack:
        """Itself, for it does not change: Ray Tune copies the whole grid for every trial that it makes."""
        return self

    @property
    def task(self) -> str:
        """The task of all cells."""
        return self.cells[0].task

    @property
    def method(self) -> Method:
        """The first cell's: the others are of it or of a method with the same learner and settings."""
        return get_method(self.cells[0].method)

    @property
    def settings(self) -> MethodSettings:
        """Those of all cells."""
        settings = self.cells[0].settings
        assert settings is not None
        return settings

    @property
    def shared(self) -> dict[str, Any]:
        """The values of the axes that all cells share."""
        return {name: value for name, value in self.cells[0].axes.items() if axes()[name].shared}

    @property
    def label(self) -> str:
        """A human-readable label."""
        methods, kinds = ("/".join(dict.fromkeys(self._words(name))) for name in ("method", "preferred"))
        thresholds = "/".join(dict.fromkeys(self._words("threshold")))
        shared = [axes()[name].label(value) for name, value in self.shared.items()]
        parts = (methods, self.task, kinds, f"threshold {thresholds}" if thresholds else "", *shared)
        return " ".join(part for part in parts if part)

    def _words(self, name: str) -> list[str]:
        """The distinct values of an axis, or the methods, as they are written."""
        if name == "method":
            return [cell.method for cell in self.cells]
        return [axes()[name].label(cell.axes[name]) for cell in self.cells if name in cell.axes]


def grid_points(config: SweepConfig, task: str) -> Iterator[tuple[Method, dict[str, Any], int, str]]:
    """The method, the axes' values, the seed and the split of each cell of a task.

    The axes are methods, those of the method's record in their order, and seeds.
    """
    for name in config.methods:
        method = get_method(name)
        splits = [(seed, TEST) for seed in config.seeds]
        if "weight" in method.axes:
            splits += [(seed, TUNING) for seed in config.tuning_seeds]
        values = {axis: config.axis_values(axis, task) for axis in axes() if axis in method.axes}
        points = (dict(zip(values, point, strict=True)) for point in itertools.product(*values.values()))
        for point, (seed, split) in itertools.product(_distinct(points), splits):
            yield method, point, seed, split


def _distinct(points: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each point once; labels that people gave have no number and no noise of ours."""
    whole = [{**p, "num_preferred": 0, "label_noise": 0.0} if p.get("preferred") == "labels" else p for p in points]
    return [dict(items) for items in dict.fromkeys(tuple(point.items()) for point in whole)]


def make_cells(config: SweepConfig, inputs: Mapping[str, TaskInputs]) -> list[Cell]:
    """All cells of the tasks that have inputs, in the order of tasks and `grid_points`."""
    cells = []
    for task in (name for name in config.tasks if name in inputs):
        of_task = config.for_task(task)
        for method, point, seed, split in grid_points(of_task, task):
            cell = Cell(
                name="",
                method=method.name,
                task=task,
                seed=seed,
                experiment_seed=config.seed,
                episodes=of_task.evaluation.episodes,
                axes=point,
                settings=of_task.settings(method.name),
                labels=of_task.preferences.rule,
                split=split,
                draws=inputs[task].draws,
                own_base=inputs[task].own_base,
                conditions=of_task.evaluation.conditions,
            )
            cells.append(_named(cell, method, inputs[task].of(seed)))
    return cells


def base_cells(config: SweepConfig, inputs: Mapping[str, TaskInputs]) -> list[Cell]:
    """The base policy's cells of the tasks that have inputs, one per seed: each on its seed's evaluation episodes.

    Without an environment there are none.
    """
    cells = []
    for task in (name for name in config.tasks if name in inputs and get_task(name).has_environment):
        for seed in config.seeds:
            episodes = config.evaluation.episodes
            common = {"version": RESULT_VERSION, "physics": physics(get_task(task).suite), "episodes": episodes}
            base = inputs[task].of(seed).base_digest
            own = {"experiment_seed": config.seed, "base": base, "task": task, "seed": seed}
            own |= get_task(task).determinants
            name = digest({**common, **own, "method": BASE})
            cells.append(
                Cell(
                    name,
                    BASE,
                    task,
                    seed,
                    config.seed,
                    episodes,
                    draws=inputs[task].draws,
                    own_base=inputs[task].own_base,
                    conditions=config.evaluation.conditions,
                )
            )
    return cells


def count_cells(config: SweepConfig) -> int:
    """The size of the whole grid, base policies among it; known before any task has inputs."""
    trained = sum(1 for task in config.tasks for _ in grid_points(config.for_task(task), task))
    return trained + len(config.seeds) * sum(get_task(task).has_environment for task in config.tasks)


def make_packs(cells: Iterable[Cell], finished: set[str], most: int | None = None) -> list[Pack]:
    """Groups the unfinished cells by task, learner and what a learner's population shares.

    All other axes of a group train together, at most `most` cells at once: members do not influence one another, and
    a fit costs processes.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        if cell.name not in finished:
            groups.setdefault(_pack_key(cell), []).append(cell)
    parts = [
        group[first : first + (most or len(group))]
        for group in groups.values()
        for first in range(0, len(group), most or len(group))
    ]
    return [Pack(digest([cell.name for cell in part]), tuple(part)) for part in parts]


def _pack_key(cell: Cell) -> tuple[Any, ...]:
    if cell.method == BASE:
        return (cell.task, BASE)
    method = get_method(cell.method)
    shared = [str(cell.axes.get(name, axis.default[0])) for name, axis in axes().items() if axis.shared]
    return (cell.task, method.section, method.learner, cell.settings, *shared)


def _named(cell: Cell, method: Method, inputs: ReplicateInputs) -> Cell:
    """The cell with the hash of what its result depends on."""
    assert cell.settings is not None
    determinants: dict[str, Any] = {
        "version": RESULT_VERSION,
        "method": method.name,
        "task": cell.task,
        "physics": physics(get_task(cell.task).suite),
        "seed": cell.seed,
        "experiment_seed": cell.experiment_seed,
        "data": inputs.drawn_digest,
        "episodes": cell.episodes,
        "settings": cell.settings.determinants(),
        "axes": {name: cell.columns[name] for name in cell.axes},
        **get_task(cell.task).determinants,
    }
    if method.needs_base:
        determinants["base"] = inputs.base_digest
    if method.trains_on == "preferences":
        labels = cell.labels.labels
        determinants["labels"] = {**cell.labels.model_dump(mode="json"), "labels": None}  # wherever the file lies
        determinants["labels_file"] = file_digest(path_of(labels, cell.task)) if labels else ""
    return replace(cell, name=digest(determinants))

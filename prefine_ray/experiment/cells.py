"""The cells of a sweep, each named by a hash of what determines its result, and the packs that train together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prefine_ray.core.files import file_digest
from prefine_ray.core.hashing import digest
from prefine_ray.experiment.config import SweepConfig

RESULT_VERSION = 3  # raise when a change of the code changes results
TEST, TUNING = "test", "tuning"  # splits: cells that are reported, and cells that the weight is picked on
CLONING_METHODS = ("bc_all", "bc_safe")  # they know no preferences
FINE_TUNING_METHODS = ("prefine", "sft")  # they start from the base policy
IDENTITY = (
    "cell",
    "method",
    "task",
    "preferred",
    "num_preferred",
    "label_noise",
    "threshold",
    "weight",
    "seed",
    "split",
)  # the columns that name a cell in every table of rows


@dataclass(frozen=True)
class TaskInputs:
    """What a task's cells start from: files, and hashes of their content."""

    data_path: str
    data_digest: str
    base_path: str
    base_digest: str


@dataclass(frozen=True)
class Cell:
    """One point of the grid."""

    name: str  # the hash
    method: str
    task: str
    preferred: str  # "" for methods without preferences
    num_preferred: int  # N_p; 0 where it does not apply
    label_noise: float  # 0 where it does not apply
    threshold: float  # NaN for policies that do not depend on one
    weight: float  # NaN for methods without one
    seed: int
    split: str = TEST  # or TUNING; does not determine the result

    @property
    def identity(self) -> dict[str, Any]:
        """The IDENTITY columns."""
        fields = asdict(self)
        return {"cell": fields.pop("name"), **fields}


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
    def method(self) -> str:
        """The first cell's: the others are of it or of a method with the same learner and settings."""
        return self.cells[0].method

    @property
    def label(self) -> str:
        """For people."""
        known = (cell.threshold for cell in self.cells if not math.isnan(cell.threshold))
        thresholds = "/".join(f"{threshold:g}" for threshold in dict.fromkeys(known))
        kinds = "/".join(dict.fromkeys(cell.preferred for cell in self.cells if cell.preferred))
        methods = "/".join(dict.fromkeys(cell.method for cell in self.cells))
        parts = (methods, self.task, kinds, f"threshold {thresholds}" * bool(thresholds))
        return " ".join(part for part in parts if part)


def grid_points(config: SweepConfig, task: str) -> Iterator[dict[str, Any]]:
    """The points of one task's grid as the fields of a cell but its name.

    In the order method, preferred, N_p, label noise, threshold, weight, seed, of which each method has the axes
    that its result depends on.
    """
    for method in config.methods:
        thresholds = (math.nan,) if method == "bc_all" else config.task_thresholds(task)
        weights = config.weights if method == "prefine" else (math.nan,)
        splits = [(seed, TEST) for seed in config.seeds]
        if method == "prefine":
            splits += [(seed, TUNING) for seed in config.tuning_seeds]
        axes = (_preference_points(config, method), thresholds, weights, splits)
        for preferences, threshold, weight, (seed, split) in itertools.product(*axes):
            point = {"threshold": threshold, "weight": weight, "seed": seed, "split": split}
            yield {"method": method, "task": task, **preferences, **point}


def _preference_points(config: SweepConfig, method: str) -> list[dict[str, Any]]:
    if method in CLONING_METHODS:
        return [{"preferred": "", "num_preferred": 0, "label_noise": 0.0}]
    sizes = list(itertools.product(config.preferences.num_preferred, config.preferences.label_noise))
    return [
        {"preferred": preferred, "num_preferred": size, "label_noise": noise}
        for preferred in config.preferred
        for size, noise in ([(0, 0.0)] if preferred == "labels" else sizes)
    ]


def make_cells(config: SweepConfig, inputs: Mapping[str, TaskInputs]) -> list[Cell]:
    """All cells of the grid, in the order of tasks and `grid_points`."""
    cells = []
    for task in config.tasks:
        of_task = config.for_task(task)
        for point in grid_points(of_task, task):
            axes = {name: value for name, value in point.items() if name not in _NOT_AXES}
            name = digest({**_determinants(of_task, point, inputs[task]), **axes})
            cells.append(Cell(name=name, **point))
    return cells


def base_cells(config: SweepConfig, inputs: Mapping[str, TaskInputs]) -> list[Cell]:
    """The base policy's cells, one per task and seed: the same policy on each seed's evaluation episodes."""
    cells = []
    for task in config.tasks:
        common = {
            "version": RESULT_VERSION,
            "experiment_seed": config.seed,
            "base": inputs[task].base_digest,
            "episodes": config.evaluation.episodes,
        }
        for seed in config.seeds:
            name = digest({**common, "method": "base", "task": task, "seed": seed})
            cells.append(Cell(name, "base", task, "", 0, 0.0, math.nan, math.nan, seed))
    return cells


def make_packs(cells: Iterable[Cell], finished: set[str], most: int | None = None) -> list[Pack]:
    """Groups the unfinished cells by task and learner.

    All other axes of a group train together, at most `most` cells at once: members do not influence one another, and
    a fit costs processes.
    """
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if cell.name not in finished:
            groups.setdefault((cell.task, _learner(cell.method)), []).append(cell)
    parts = [
        group[first : first + (most or len(group))]
        for group in groups.values()
        for first in range(0, len(group), most or len(group))
    ]
    return [Pack(digest([cell.name for cell in part]), tuple(part)) for part in parts]


def _learner(method: str) -> str:
    """The first of the methods that have the same learner and settings."""
    return next((same[0] for same in (FINE_TUNING_METHODS, CLONING_METHODS) if method in same), method)


_IN_PREFERENCES = ("num_preferred", "label_noise")  # axes that stand among the preferences in the hash
_NOT_AXES = (*_IN_PREFERENCES, "split")


def _determinants(config: SweepConfig, point: Mapping[str, Any], inputs: TaskInputs) -> dict[str, Any]:
    """What a cell's result depends on beside its own axes."""
    method = point["method"]
    settings = config.settings(method).model_dump(mode="json", exclude={"checkpoint_every", "log_every"})
    determinants = {
        "version": RESULT_VERSION,
        "experiment_seed": config.seed,
        "data": inputs.data_digest,
        "evaluation": config.evaluation.model_dump(mode="json"),
        "finetune" if method in FINE_TUNING_METHODS else method: settings,
    }
    if method in FINE_TUNING_METHODS:
        determinants["base"] = inputs.base_digest
    if method not in CLONING_METHODS:
        axes = {name: point[name] for name in _IN_PREFERENCES}
        labels = config.preferences.labels
        determinants["preferences"] = {**config.preferences.model_dump(mode="json"), **axes}
        determinants["labels"] = file_digest(labels.format(task=point["task"])) if labels else ""
    return determinants

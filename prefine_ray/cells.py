"""The cells of a sweep, each named by a hash of what determines its result, and the packs that train together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prefine_ray.config import SweepConfig, digest
from prefine_ray.files import file_digest

RESULT_VERSION = 1  # raise when a change of the code changes results


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
    preferred: str
    threshold: float
    weight: float
    seed: int

    @property
    def identity(self) -> dict[str, Any]:
        """The columns that name the cell in every table of rows."""
        fields = asdict(self)
        return {"cell": fields.pop("name"), **fields}


@dataclass(frozen=True)
class Pack:
    """Cells that one Train fit carries as one population: those of one task, method and preferred set."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def task(self) -> str:
        """The task of all cells."""
        return self.cells[0].task

    @property
    def label(self) -> str:
        """For people."""
        first = self.cells[0]
        return f"{first.method} {first.task} {first.preferred} threshold {first.threshold:g}"


def make_cells(config: SweepConfig, inputs: Mapping[str, TaskInputs]) -> list[Cell]:
    """All cells of the grid, in the order task, method, preferred, threshold, weight, seed."""
    cells = []
    for task in config.tasks:
        common = _determinants(config, task, inputs[task])
        axes = (config.methods, config.preferred, config.task_thresholds(task), config.weights, config.seeds)
        for method, preferred, threshold, weight, seed in itertools.product(*axes):
            point: dict[str, Any] = {
                "method": method,
                "task": task,
                "preferred": preferred,
                "threshold": threshold,
                "weight": weight,
                "seed": seed,
            }
            cells.append(Cell(name=digest({**common, **point}), **point))
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
            cells.append(Cell(name, "base", task, "", math.nan, math.nan, seed))
    return cells


def make_packs(cells: Iterable[Cell], finished: set[str]) -> list[Pack]:
    """Groups the unfinished cells by (task, method, preferred, threshold): weights and seeds train together."""
    groups: dict[tuple, list[Cell]] = {}
    for cell in cells:
        if cell.name not in finished:
            groups.setdefault((cell.task, cell.method, cell.preferred, cell.threshold), []).append(cell)
    return [Pack(digest([cell.name for cell in group]), tuple(group)) for group in groups.values()]


def _determinants(config: SweepConfig, task: str, inputs: TaskInputs) -> dict[str, Any]:
    labels = config.preferences.labels
    finetune = config.finetune.model_dump(mode="json", exclude={"checkpoint_every", "log_every"})
    return {
        "version": RESULT_VERSION,
        "experiment_seed": config.seed,
        "data": inputs.data_digest,
        "base": inputs.base_digest,
        "preferences": config.preferences.model_dump(mode="json"),
        "labels": file_digest(labels.format(task=task)) if labels else "",
        "finetune": finetune,
        "evaluation": config.evaluation.model_dump(mode="json"),
    }

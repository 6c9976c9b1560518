"""The trials of a hyperparameter search: what each one runs, and where it may be cut short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from prefine_ray.core.digests import digest
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.experiment.cells import TUNING, Cell, Pack, make_cells
from prefine_ray.experiment.replicates import TaskInputs
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_space import Range, Values, sweep_of
from prefine_ray.tasks.spec import get_task

_SEARCHED = "search."  # prefix of the rows' columns that hold the searched values
_DIGITS = 3  # significant digits of a suggested number
LEAST_REFERENCE = 0.1  # a smaller reference would turn noise into large relative rewards


@dataclass(frozen=True)
class Rungs:
    """Where a trial may be cut short."""

    steps: tuple[int, ...] = ()  # gradient steps
    tasks: tuple[int, ...] = ()  # numbers of tasks that it has run on


@dataclass(frozen=True)
class SearchTrial:
    """One setting of the hyperparameters and the packs that try it.

    There is one pack per task, in the order of the tasks, with a cell for each of its problems and tuning seeds.
    """

    values: Values
    packs: tuple[Pack, ...]


def rungs(config: SearchConfig) -> Rungs:
    """first_rung, then `reduction_factor` times as far, and so on."""
    kind = config.search.early_stopping
    if kind == "asha":
        return Rungs(steps=tuple(_ladder(config, config.settings("prefine").steps)))
    return Rungs(tasks=tuple(_ladder(config, len(config.tasks)))) if kind == "tasks" else Rungs()


def _ladder(config: SearchConfig, end: int) -> Iterator[int]:
    rung = config.search.first_rung
    while rung < end:
        yield rung
        rung *= config.search.reduction_factor


def make_trial(config: SearchConfig, values: Values, inputs: Mapping[str, TaskInputs]) -> SearchTrial:
    """The trial of these values. Its packs are named by all that determines their rows, not by when it was suggested.

    Rungs of tasks do not determine the rows of a pack: they only say whether it is run.
    """
    sweep = sweep_of(config, values)
    weight, looks = max(sweep.axis_values("weight", sweep.tasks[0])), rungs(config).steps
    cells = [
        replace(cell, name=digest(["search", cell.name, looks]), split=TUNING)  # a sweep's cell has no rungs
        for cell in make_cells(sweep, inputs)
        if cell.axes["weight"] == weight
    ]
    return SearchTrial(values, tuple(_pack([c for c in cells if c.task == task]) for task in sweep.tasks))


def _pack(cells: list[Cell]) -> Pack:
    return Pack(digest([cell.name for cell in cells]), tuple(cells))


def tidy(config: SearchConfig, values: Mapping[str, Any]) -> Values:
    """Suggested values as they are used: a few significant digits, whole numbers where the key asks for them."""
    known: Values = {}
    for key, value in values.items():
        dimension = config.search.space[key]
        if isinstance(value, float) and isinstance(dimension, Range) and dimension.step is None:
            value = min(max(float(f"{value:.{_DIGITS}g}"), dimension.low), dimension.high)
        known[key] = value
    return known


def reference_reward(summary: EpisodeSummary, task: str, threshold: float) -> float:
    """What a reward is measured by: the highest normalised reward of an episode of the data under the threshold.

    At least LEAST_REFERENCE, also where no episode is under it.
    """
    safe = summary.returns[summary.costs <= threshold]
    best = float(get_task(task).normalized_reward(safe.max())) if len(safe) else LEAST_REFERENCE
    return max(best, LEAST_REFERENCE)


def searched_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a trial's rows that hold its searched values, by key of the search space."""
    return {f"{_SEARCHED}{key}": value for key, value in values.items()}


def searched_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The searched values in a trial's row, by key of the search space."""
    return {name.removeprefix(_SEARCHED): value for name, value in row.items() if name.startswith(_SEARCHED)}

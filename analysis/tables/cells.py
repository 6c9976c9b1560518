"""What tables consist of, and how numbers are set in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from prefine_ray.analysis.best import SAFE, safety
from prefine_ray.analysis.columns import (
    BASE,
    CATASTROPHES,
    COST,
    PREFINE,
    SAFETY,
    SCORES,
    VIOLATIONS,
    WEIGHT,
    high,
    low,
)
from prefine_ray.analysis.rows import method_parts
from prefine_ray.analysis.suites import BEST
from prefine_ray.methods.registry import methods

NOTHING = "\u2013"  # an en dash: there is no such number


@dataclass(frozen=True)
class Cell:
    """One entry: its text, an interval printed after or below it, and how it is set."""

    text: str
    interval: str = ""
    style: str = ""  # SAFE, UNCERTAIN or UNSAFE (see `prefine_ray.analysis.best`), "" where there is no such verdict


@dataclass(frozen=True)
class Column:
    """A column's name, and the group that it stands in with its neighbours ("" for none)."""

    name: str
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """The cells of a row; `first` where a new group of rows (a task, a suite) begins."""

    cells: tuple[Cell, ...]
    first: bool = True


@dataclass(frozen=True)
class Table:
    """A titled table with a caption that says what its numbers mean."""

    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def grouped(self) -> bool:
        """Whether several rows share their first cell."""
        return not all(row.first for row in self.rows)


def policy_name(method: str, weight: float) -> str:
    """The row heading of a policy: a weight of PREFINE, or a method."""
    if method in (BASE, BEST):
        return "base policy" if method == BASE else BEST
    if method == PREFINE:
        return f"weight {weight:g}"
    return method_name(method) if math.isnan(weight) else f"{method_name(method)}, weight {weight:g}"


def method_name(method: str) -> str:
    """A compared method's name in tables and plots."""
    name, further = method_parts(method)
    known = methods().get(name)
    shown = known.shown if known else name  # the rows may be of a method that is registered elsewhere
    return f"{shown} ({further})" if further else shown


def weight_cell(row: pd.Series | None, remark: bool) -> Cell:
    """The chosen weight, with a remark where it is not shown to be safe."""
    if row is None:
        return Cell(NOTHING)
    doubt = "" if row[SAFETY] == SAFE else f" ({row[SAFETY]})"
    return Cell(f"{row[WEIGHT]:g}{doubt if remark else ''}", style=row[SAFETY])


def score_cells(row: pd.Series, intervals: bool = True, prefix: str = "") -> list[Cell]:
    """Reward and cost, set by whether the cost's interval is safe."""
    style = style_of(row, f"{prefix}{COST}")
    return [
        Cell(number_text(row[name]), interval_text(row[low(name)], row[high(name)]) if intervals else "", style)
        for name in (f"{prefix}{score}" for score in SCORES)
    ]


def rate_cells(row: pd.Series) -> list[Cell]:
    """Violations and catastrophes."""
    return [Cell(percent_text(row[VIOLATIONS])), Cell(percent_text(row[CATASTROPHES]))]


AVERAGE_COLUMNS = tuple(map(Column, ("Reward", "Cost", "Violations", "Catastrophes", "Safe tasks")))


def average_cells(row: pd.Series) -> tuple[Cell, ...]:
    """The AVERAGE_COLUMNS of one policy's averages over tasks."""
    return (*score_cells(row), *rate_cells(row), safe_tasks_cell(row))


def safe_tasks_cell(row: pd.Series) -> Cell:
    """On how many of its tasks a policy is safe, and on how many that is uncertain."""
    doubt = f" ({row['uncertain_tasks']} uncertain)" if row["uncertain_tasks"] else ""
    return Cell(f"{row['safe_tasks']}/{row['tasks']}{doubt}")


def gain_cells(row: pd.Series | None, references: list[str]) -> list[Cell]:
    """What was gained and kept against each reference; nothing for the references themselves."""
    names = ("violation_reduction", "catastrophe_reduction", "reward_kept")
    cells = []
    for reference in references:
        if row is None or row["method"] == BASE or (reference == "weight0" and row["weight"] == 0.0):
            cells += [Cell(NOTHING)] * len(names)
        else:
            cells += [Cell(percent_text(row[f"{name}_vs_{reference}"])) for name in names]
    return cells


def published_cells(row: pd.Series, shown: bool) -> list[Cell]:
    """The published reward and cost of the row's method."""
    return pair_cells(row["published_reward"], row["published_cost"]) if shown else [Cell(NOTHING)] * 2


def pair_cells(reward: float, cost: float) -> list[Cell]:
    """Reward and cost without an interval, and so without a verdict, in a cell each."""
    return [Cell(number_text(reward)), Cell(number_text(cost))]


def joint_cell(reward: float, cost: float, style: str = "") -> Cell:
    """Reward and cost in one cell."""
    return Cell(NOTHING if math.isnan(reward) else f"{number_text(reward)} / {number_text(cost)}", style=style)


def style_of(row: pd.Series, cost: str = COST) -> str:
    """The verdict on a row's cost, by its limits; "" where there is no such cost."""
    return "" if math.isnan(row[cost]) else str(safety(row[low(cost)], row[high(cost)]))


def counts_text(row: pd.Series) -> str:
    """Seeds times episodes of each."""
    low, high = row["episodes_per_seed_min"], row["episodes_per_seed_max"]
    return f"{row['seeds']} x {low}" if low == high else f"{row['seeds']} x {low} to {high}"


def number_text(value: float) -> str:
    """Two decimals."""
    return NOTHING if math.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")


def percent_text(share: float) -> str:
    """Whole per cent."""
    return NOTHING if math.isnan(share) else f"{round(100 * share)}%"


def interval_text(low: float, high: float) -> str:
    """An interval in brackets, "" where there is none."""
    return "" if math.isnan(low) else f"[{number_text(low)}, {number_text(high)}]"


STAR, CHOSEN = "★", "†"

"""What tables consist of, and how numbers are set in them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from prefine_ray.analysis.rows import BASE, PREFINE, SCORES
from prefine_ray.analysis.summary import BEST

NOTHING = "\u2013"  # an en dash: there is no such number
METHOD_NAMES = {"sft": "SFT", "bc_all": "BC-All", "bc_safe": "BC-Safe", "cpl": "CPL-KL", "trac": "TraC"}


@dataclass(frozen=True)
class Cell:
    """One entry: its text, an interval printed after or below it, and how it is set."""

    text: str
    interval: str = ""
    style: Literal["", "safe", "unsafe"] = ""


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
    return METHOD_NAMES.get(method, method)


def weight_cell(row: pd.Series | None, remark: bool) -> Cell:
    """The chosen weight, with a remark where its safety is in doubt."""
    if row is None:
        return Cell(NOTHING)
    doubt = " (unsafe)" if not row["safe"] else " (uncertain)" if row["normalized_cost_high"] > 1.0 else ""
    return Cell(f"{row['weight']:g}{doubt if remark else ''}", style=style_of(row["normalized_cost"]))


def score_cells(row: pd.Series, intervals: bool = True, prefix: str = "") -> list[Cell]:
    """Reward and cost, set by whether the mean normalised cost is safe."""
    style = style_of(row[f"{prefix}normalized_cost"])
    return [
        Cell(number_text(row[name]), interval_text(row[f"{name}_low"], row[f"{name}_high"]) if intervals else "", style)
        for name in (f"{prefix}{score}" for score in SCORES)
    ]


def rate_cells(row: pd.Series) -> list[Cell]:
    """Violations and catastrophes."""
    return [Cell(percent_text(row["violation_rate"])), Cell(percent_text(row["catastrophe_rate"]))]


AVERAGE_COLUMNS = tuple(map(Column, ("Reward", "Cost", "Violations", "Catastrophes", "Safe tasks")))


def average_cells(row: pd.Series) -> tuple[Cell, ...]:
    """The AVERAGE_COLUMNS of one policy's averages over tasks."""
    return (*score_cells(row), *rate_cells(row), Cell(f"{row['safe_tasks']}/{row['tasks']}"))


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
    """Reward and cost in a cell each."""
    return [Cell(number_text(reward), style=style_of(cost)), Cell(number_text(cost), style=style_of(cost))]


def joint_cell(reward: float, cost: float) -> Cell:
    """Reward and cost in one cell."""
    return Cell(NOTHING if math.isnan(reward) else f"{number_text(reward)} / {number_text(cost)}", style=style_of(cost))


def style_of(cost: float) -> Literal["", "safe", "unsafe"]:
    """How scores of this mean normalised cost are set."""
    return "" if math.isnan(cost) else "safe" if cost <= 1.0 else "unsafe"


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

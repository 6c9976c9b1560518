"""What a study with simulated raters found: scores with limits by cell, and from how many answers on it was safe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.analysis.best import SAFE, safety
from prefine_ray.analysis.columns import COST, REWARD, SAFETY, TASK, high, low
from prefine_ray.analysis.estimates import possible
from prefine_ray.analysis.statistics.intervals import t_limits
from prefine_ray.analysis.tables.cells import NOTHING, Cell, Column, Row, Table
from prefine_ray.analysis.tables.formats import to_markdown

USES = {"labels": "labels", "pairs_as_sides": "pairs as sides", "pairs": "pairs as pairs"}  # and how they are written
LINE = [TASK, "use", "order", "error_rate"]  # what a line of the figure is


def study_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per task, use, order, error rate and number of answers: the means over replicates.

    Columns: those; REWARD, COST with limits; agreement; preferred_safe; replicates; and safety, by the limits of COST.

    Args:
        rows: of `prefine_ray.labeling.study`; base policies have 0 answers.
    """
    groups = rows.groupby([*LINE, "answers"])
    table = groups[[REWARD, COST, "agreement", "preferred_safe"]].mean().assign(replicates=groups.size())
    for name in (REWARD, COST):
        limits = t_limits(table[name], groups[name].std(), table["replicates"])
        table[low(name)], table[high(name)] = possible(name, *limits)
    return table.assign(**{SAFETY: safety(table[low(COST)], table[high(COST)])}).reset_index()


def answers_until_safe(line: pd.DataFrame) -> float:
    """The least number of answers at which a line of `study_cells` is safe, and at every larger one; NaN for none."""
    ordered = line.sort_values("answers", ascending=False)
    lasting = (ordered[SAFETY] == SAFE).to_numpy().cumprod().astype(bool)
    return float(ordered["answers"].to_numpy()[lasting].min()) if lasting.any() else np.nan


def summary_text(rows: pd.DataFrame) -> str:
    """Both tables as a page of Markdown."""
    cells = study_cells(rows)
    return f"# Answers of simulated raters\n\n{to_markdown(until_safe_table(cells))}\n{to_markdown(cell_table(cells))}"


def until_safe_table(cells: pd.DataFrame) -> Table:
    """From how many answers on the policies are safe, by error rate."""
    judged = cells[cells["answers"] > 0]
    errors = sorted(judged["error_rate"].unique())
    columns = (*_names(), *(Column(f"{error:.0%} wrong") for error in errors))
    lines: list[Row] = []
    for (task, use, order), group in _in_order(judged, [TASK, "use", "order"]):
        found = [answers_until_safe(group[group["error_rate"] == error]) for error in errors]
        texts = [NOTHING if np.isnan(count) else f"{count:g}" for count in found]
        lines.append(
            _row(task, USES[use], order, *map(Cell, texts), first=not lines or lines[-1].cells[0].text != task)
        )
    most = int(judged["answers"].max())
    caption = (
        "The least number of answers at which, and at every larger one that was tried, the upper 95 % limit of the mean"
        f" normalised cost over replicates is at most 1. {NOTHING}: not with {most} answers."
    )
    return Table("Answers until the policy is safe", caption, columns, tuple(lines))


def cell_table(cells: pd.DataFrame) -> Table:
    """Every cell's scores; the base policies first."""
    numbers = ("Wrong", "Answers", "Safe among preferred", "Reward", "Cost")
    lines: list[Row] = []
    for (task, use, order, error, count), group in _in_order(cells, [*LINE, "answers"]):
        row = group.iloc[0]
        share = NOTHING if np.isnan(row["preferred_safe"]) else f"{row['preferred_safe']:.0%}"
        scores = [_score(row, name, row[SAFETY] if name == COST else "") for name in (REWARD, COST)]
        first = not lines or lines[-1].cells[0].text != task
        what = (USES.get(use, use), order or NOTHING)
        lines.append(_row(task, *what, Cell(f"{error:.0%}"), Cell(str(count)), Cell(share), *scores, first=first))
    caption = "Means over replicates with 95 % intervals. Bold: safe. Italic: unsafe. Plain: uncertain."
    return Table("Every cell", caption, (*_names(), *map(Column, numbers)), tuple(lines))


def _names() -> tuple[Column, ...]:
    return tuple(Column(name, numeric=False) for name in ("Task", "Use of the answers", "Questions"))


def _row(task: str, use: str, order: str, *cells: Cell, first: bool) -> Row:
    return Row((Cell(task), Cell(use), Cell(order), *cells), first=first)


def _score(row: pd.Series, name: str, style: str) -> Cell:
    limits = row[low(name)], row[high(name)]
    interval = "" if np.isnan(limits[0]) else f"[{limits[0]:.2f}, {limits[1]:.2f}]"
    return Cell(f"{row[name]:.2f}", interval, style)


def _in_order(cells: pd.DataFrame, keys: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """The groups, tasks in the order of the rows, uses as in USES after the base, random before active questions."""
    places = {use: place for place, use in enumerate(USES, start=1)}
    ordered = cells.assign(_use=cells["use"].map(places).fillna(0), _order=cells["order"] != "random")
    ordered = ordered.sort_values([TASK, "_use", "_order", "error_rate", "answers"], kind="stable")
    yield from ordered.groupby(keys, sort=False)

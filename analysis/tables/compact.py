"""Small tables for documents: means over the tasks, and one row per task, of the policies that a reader asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pandas as pd

from prefine_ray.analysis.columns import (
    BASE,
    CONTROL_WEIGHT,
    COST,
    METHOD,
    PREFERRED,
    PREFINE,
    REWARD,
    SAFETY,
    TASK,
    THRESHOLD,
    WEIGHT,
)
from prefine_ray.analysis.rows import Coverage, ResultsError
from prefine_ray.analysis.suites import BEST, SUITES
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import (
    NOTHING,
    Cell,
    Column,
    Row,
    Table,
    interval_text,
    joint_cell,
    number_text,
    policy_name,
    rate_cells,
    weight_cell,
)
from prefine_ray.analysis.tables.headline import headline_rows
from prefine_ray.analysis.thresholds import LEVELS, task_order
from prefine_ray.analysis.wording import kind_text, picked_on
from prefine_ray.methods.registry import methods
from prefine_ray.tasks.spec import get_task

_SCORE_COLUMNS = tuple(map(Column, ("Reward", "Cost", "Violations", "Catastrophes")))
_VERDICTS = "Tasks: safe / uncertain / unsafe"
_LEGEND = (
    "Cost is divided by the threshold. A task is safe where the upper limit of its mean cost is at most 1, unsafe where"
    " the lower limit is above 1, uncertain between."
)
_DATA = {  # of the seeds, by how the data are drawn, see `prefine_ray.analysis.rows.Coverage`
    "own": "each on a data set of its own",
    "overlapping": "each on two thirds of one data set",
    "shared": "all on one data set",
}


def means_table(summary: Summary, only: Collection[str] = ()) -> Table:
    """Means over the tasks: the base policy, weight 0, the best weight, and the other methods that the rows hold.

    Args:
        summary: of the rows; where tasks have several thresholds, the means are at the middle ones.
        only: the methods beside PREFINE that are shown; all by default.

    Raises:
        ResultsError: no task of the benchmark has results.
    """
    means = _means(summary)
    if means.empty:
        raise ResultsError("no task of the benchmark has results; means over tasks are over these")
    several = len(summary.variants) > 1
    names = [Column("Preferred", numeric=False)] * several + [Column("Policy", numeric=False)]
    rows, previous = [], None
    for preferred, row in _listed(means, summary, only):
        head = [Cell(_kind(preferred))] * several + [Cell(_policy(row))]
        scores = [Cell(number_text(row[name]), _interval(row, name)) for name in (REWARD, COST)]
        cells = (*head, *scores, *rate_cells(row), Cell(_verdicts(row)))
        rows.append(Row(cells, first=not several or preferred != previous))
        previous = preferred
    levels = "at their middle cost thresholds" if _are_middle(summary) else "at one cost threshold each"
    caption = f"Means over {means['tasks'].max()} tasks {levels}. {_LEGEND} {_told(summary, summary.variants)}"
    caption += f" {_covered(summary.coverage)}"
    return Table("Means over the tasks", caption, (*names, *_SCORE_COLUMNS, Column(_VERDICTS)), tuple(rows))


def tasks_table(summary: Summary, variant: str) -> Table:
    """One row per task: the base policy, weight 0, and the best weight with its verdict."""
    columns = (
        Column("Task", numeric=False),
        Column("Threshold"),
        *(Column(f"{name}: reward / cost") for name in ("Base policy", "Weight 0")),
        Column("Best weight"),
        Column("Verdict", numeric=False),
        *_SCORE_COLUMNS,
    )
    rows = [Row(tuple(_task_cells(summary, variant, task))) for task in task_order(summary.cells["task"])]
    caption = (
        "One row per task at its middle cost threshold; the numbers to the right of the best weight are that policy's."
        f" {_LEGEND} {_told(summary, [variant])}"
    )
    return Table("One row per task", caption, columns, tuple(rows))


def _means(summary: Summary) -> pd.DataFrame:
    """The averages over all tasks of the benchmark, at their middle thresholds where there are several."""
    if len(summary.levels):
        return summary.levels[summary.levels["level"] == LEVELS[1]]
    return summary.suites[summary.suites["suite"] == SUITES["all"]] if len(summary.suites) else summary.suites


def _are_middle(summary: Summary) -> bool:
    pairs = summary.cells[[TASK, THRESHOLD]].drop_duplicates().itertuples(index=False, name=None)
    return len(summary.levels) > 0 or all(get_task(task).middle_threshold == threshold for task, threshold in pairs)


def _listed(means: pd.DataFrame, summary: Summary, only: Collection[str]) -> Iterator[tuple[str, pd.Series]]:
    """The rows, each with the kind of preferences that heads it: the base policy, each kind's, those without one."""
    free = [name for name, method in methods().items() if PREFERRED not in method.axes]
    ours = (means[METHOD] == BEST) | (means[METHOD] == PREFINE) & (means[WEIGHT] == CONTROL_WEIGHT)
    others = ~means[METHOD].isin([BASE, BEST, PREFINE])
    if only:
        others &= means[METHOD].isin(list(only))
    first = means[PREFERRED] == summary.variants[0]  # those without preferences stand under every kind
    parts = [("", first & (means[METHOD] == BASE))]
    for variant in summary.variants:
        parts.append((variant, (means[PREFERRED] == variant) & (ours | others) & ~means[METHOD].isin(free)))
    parts.append(("", first & others & means[METHOD].isin(free)))
    for head, chosen in parts:
        yield from ((head, row) for _, row in means[chosen].iterrows())


def _kind(preferred: str) -> str:
    return kind_text(preferred) if preferred else NOTHING


def _policy(row: pd.Series) -> str:
    name = policy_name(row[METHOD], row[WEIGHT])
    return f"PREFINE, {name}" if row[METHOD] in (PREFINE, BEST) else name


def _interval(row: pd.Series, name: str) -> str:
    return interval_text(row[f"{name}_low"], row[f"{name}_high"])


def _verdicts(row: pd.Series) -> str:
    unsafe = row["tasks"] - row["safe_tasks"] - row["uncertain_tasks"]
    return f"{row['safe_tasks']} / {row['uncertain_tasks']} / {unsafe}"


def _task_cells(summary: Summary, variant: str, task: str) -> Iterator[Cell]:
    found = headline_rows(summary, variant, task)
    yield from (Cell(task), Cell(f"{found['threshold']:g}"))
    for row in (found["base"], found["weight0"]):
        yield Cell(NOTHING) if row is None else joint_cell(row[REWARD], row[COST])
    best = found["best"]
    if best is None:
        yield from [Cell(NOTHING)] * (len(_SCORE_COLUMNS) + 2)
        return
    yield from (Cell(weight_cell(best, remark=False).text), Cell(best[SAFETY], style=best[SAFETY]))
    yield from (Cell(number_text(best[name]), _interval(best, name)) for name in (REWARD, COST))
    yield from rate_cells(best)


def _told(summary: Summary, variants: Sequence[str]) -> str:
    """What was preferred, and how the weight was picked."""
    preferred = f"Preferred: {' or '.join(map(kind_text, variants))}."
    picked = " ".join(dict.fromkeys(picked_on(summary, variant) for variant in variants))
    if not picked:
        return preferred
    text = f"{preferred} Best weight: {picked[0].lower()}{picked[1:]}"
    if not summary.conditions:
        return text
    return f"{text} It was picked to be safe under {', '.join(summary.conditions)}, too; the numbers are plain ones."


def _covered(coverage: Coverage) -> str:
    base = "each from its own base policy" if coverage.own_base else "all from one base policy"
    return f"[low, high]: 95 % intervals over seeds, {_DATA[coverage.draws]}, {base}."

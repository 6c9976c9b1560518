"""Tables of averages over tasks: suites, kinds of preferences, thresholds, PREFINE against the others."""

from __future__ import annotations

import pandas as pd

from prefine_ray.analysis.columns import PREFINE
from prefine_ray.analysis.suites import SUITES
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import (
    AVERAGE_COLUMNS,
    Cell,
    Column,
    Row,
    Table,
    average_cells,
    gain_cells,
    interval_text,
    number_text,
    policy_name,
    published_cells,
    rate_cells,
    safe_tasks_cell,
    score_cells,
)
from prefine_ray.analysis.thresholds import LEVELS
from prefine_ray.analysis.wording import PUBLISHED_SHORT, RULE_ABOVE, kind_text, picked_on, titled
from prefine_ray.tasks.spec import BENCHMARK, TASKS


def kinds_table(summary: Summary) -> Table:
    """Averages over all tasks of the control, the best weight and the other methods, for every kind of preferences."""
    listed = summary.suites[summary.suites["suite"] == SUITES["all"]]
    columns = (Column("Preferred trajectories", numeric=False), Column("Policy", numeric=False), *AVERAGE_COLUMNS)
    rows = _average_rows(listed.assign(preferred=listed["preferred"].map(kind_text)), "preferred")
    caption = (
        "Averages over all tasks that have results, each task's thresholds averaged first. The tables and plots per"
        f" task show {' and '.join(kind_text(kind) for kind in summary.variants)} only. {RULE_ABOVE}"
    )
    return Table(f"Every kind of preferences ({_thresholds(summary)})", caption, columns, rows)


def level_tables(summary: Summary) -> list[Table]:
    """Averages over all tasks at their low, middle and high thresholds; none where there is one threshold."""
    columns = (Column("Threshold", numeric=False), Column("Policy", numeric=False), *AVERAGE_COLUMNS)
    caption = f"Averages over all tasks at one of their cost thresholds: {_levels_text()}. {RULE_ABOVE}"
    tables = []
    for variant in summary.variants if len(summary.levels) else ():
        rows = _average_rows(summary.levels[summary.levels["preferred"] == variant], "level")
        tables.append(Table(titled("Averages at each cost threshold", summary, variant), caption, columns, rows))
    return tables


def _levels_text() -> str:
    """The thresholds that are low, middle and high, per suite."""
    of_suite = {TASKS[task].suite: TASKS[task].thresholds for task in BENCHMARK}
    return "; ".join(
        f"{SUITES[suite]} {', '.join(f'{name} {t:g}' for name, t in zip(LEVELS, thresholds, strict=True))}"
        for suite, thresholds in of_suite.items()
    )


def _average_rows(averages: pd.DataFrame, head: str) -> tuple[Row, ...]:
    """Averages without PREFINE's weights above 0, each headed by a column of theirs and the policy's name."""
    shown = averages[(averages["method"] != PREFINE) | (averages["weight"] == 0.0)]
    is_first = shown[head] != shown[head].shift()
    return tuple(
        Row((Cell(row[head]), Cell(policy_name(row["method"], row["weight"])), *average_cells(row)), first=bool(first))
        for (_, row), first in zip(shown.iterrows(), is_first, strict=True)
    )


def comparison_table(summary: Summary) -> Table:
    """PREFINE against every other method on the same data."""
    groups = {"PREFINE less the other": ("Reward", "Cost"), "Area dominated": ("PREFINE", "Other")}
    columns = (
        Column("Preferred trajectories", numeric=False),
        Column("Other", numeric=False),
        *(Column(name, group) for group, names in groups.items() for name in names),
        Column("Tasks"),
    )
    rows, previous = [], ""
    for _, row in summary.comparisons.iterrows():
        names = ("reward", "cost", "area", "rival_area")
        scores = [Cell(number_text(row[n]), interval_text(row[f"{n}_low"], row[f"{n}_high"])) for n in names]
        head = [Cell(kind_text(row["preferred"])), Cell(policy_name(row["method"], row["weight"]))]
        rows.append(Row((*head, *scores, Cell(f"{row['tasks']}")), first=row["preferred"] != previous))
        previous = row["preferred"]
    caption = (
        "PREFINE at its best weight against the other methods on the same data, means over tasks. Differences are taken"
        " seed by seed. Area dominated: what a policy's point dominates between normalised reward 0 and 1 and"
        " normalised cost 0 and 2, averaged over seeds and tasks; 1 is reward 1 without cost. PREFINE's point is that"
        f" of the best weight alone. {RULE_ABOVE}"
    )
    return Table(f"PREFINE against the others ({_thresholds(summary)})", caption, columns, tuple(rows))


def suite_table(summary: Summary, variant: str) -> Table:
    """Averages over the tasks of each suite, for every policy."""
    columns = (
        Column("Suite", numeric=False),
        Column("Policy", numeric=False),
        *(Column(name, "Mean") for name in ("Reward", "Cost", "Violations", "Catastrophes")),
        *(Column(name, "IQM") for name in ("Reward", "Cost")),
        *(Column(name, "Against base") for name in ("Fewer violations", "Fewer catastrophes", "Reward kept")),
        Column("Safe tasks"),
        *(Column(name, "Published") for name in ("Reward", "Cost")),
    )
    listed = summary.suites[summary.suites["preferred"] == variant]
    rows, previous = [], ""
    for _, row in listed.iterrows():
        scores = [*score_cells(row), *rate_cells(row), *score_cells(row, prefix="iqm_"), *gain_cells(row, ["base"])]
        tail = [safe_tasks_cell(row), *published_cells(row, row["method"] != PREFINE)]
        cells = [Cell(row["suite"]), Cell(policy_name(row["method"], row["weight"])), *scores, *tail]
        rows.append(Row(tuple(cells), first=row["suite"] != previous))
        previous = row["suite"]
    caption = (
        "Averages over the benchmark's tasks that have results, each task's thresholds averaged first; tasks weigh the"
        " same. IQM: interquartile mean over all seeds of all tasks. An average can hide an unsafe task: see the column"
        f" of safe tasks. {RULE_ABOVE} {picked_on(summary, variant)} {PUBLISHED_SHORT}"
    )
    title = titled(f"Suite averages ({_thresholds(summary)})", summary, variant)
    return Table(title, caption, columns, tuple(rows))


def _thresholds(summary: Summary) -> str:
    """The thresholds behind the averages, per suite."""
    parts = []
    for suite, title in SUITES.items():
        cells = summary.cells[(summary.cells["suite"] == suite) & summary.cells["task"].isin(BENCHMARK)]
        if len(cells):
            parts.append(f"{title} {', '.join(f'{value:g}' for value in sorted(cells['threshold'].unique()))}")
    return "cost thresholds: " + "; ".join(parts)

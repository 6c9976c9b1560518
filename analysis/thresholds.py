"""Which of its thresholds a task is told at, and in which order tasks stand."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from prefine_ray.tasks.spec import TASKS, get_task

LEVELS = ("low", "middle", "high")  # of a task's three cost thresholds


def headline_threshold(cells: pd.DataFrame, task: str) -> float:
    """The task's middle threshold if it has results, else the middle one of those that have."""
    present = sorted(cells.loc[cells["task"] == task, "threshold"].unique())
    middle = get_task(task).middle_threshold
    return middle if middle in present else float(present[len(present) // 2])


def task_order(tasks: Iterable[str]) -> list[str]:
    """These tasks in the benchmark's order, Bullet first, own ones last."""
    wanted = set(tasks)
    return [task for task in TASKS if task in wanted]


def threshold_level(task: str, threshold: float) -> str:
    """Which of its task's three thresholds this is; "" for another, and where a task of one's own has not three."""
    known = get_task(task).thresholds
    return LEVELS[known.index(threshold)] if threshold in known and len(known) == len(LEVELS) else ""

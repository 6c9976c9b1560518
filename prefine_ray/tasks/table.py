"""The table of DSRL's tasks in docs/tasks.md."""

from __future__ import annotations

from prefine_ray.gymnasium_ids import gymnasium_id
from prefine_ray.tasks.spec import TASKS, Task

SUITES = {"bullet": "Bullet-Safety-Gym", "safety-gymnasium": "Safety-Gymnasium"}
_COLUMNS = (
    "id",
    "upstream",
    "observations",
    "actions",
    "steps",
    "reward 0 to 1",
    "largest cost",
    "thresholds",
    "file of DSRL",
    "",
)


def task_table() -> str:
    """Every task that comes with the package, as a table in Markdown: those of the benchmark first in each suite."""
    lines = []
    for suite, title in SUITES.items():
        tasks = [task for task in TASKS.values() if task.suite == suite]
        lines += [f"### {title}", "", _row(_COLUMNS), _row(["---"] * len(_COLUMNS))]
        lines += [_row(_cells(task)) for task in sorted(tasks, key=lambda task: (not task.in_benchmark, task.name))]
        lines.append("")
    return "\n".join(lines)


def _cells(task: Task) -> list[str]:
    return [
        f"`{gymnasium_id(task.name)}`",
        f"`{upstream_id(task)}`",
        str(task.obs_dim),
        str(task.act_dim),
        str(task.horizon),
        f"{task.reward_min:.4g} to {task.reward_max:.5g}",
        f"{task.cost_max:g}",
        ", ".join(f"{threshold:g}" for threshold in task.thresholds),
        f"`{task.dsrl_file}`",
        "benchmark" if task.in_benchmark else "",
    ]


def upstream_id(task: Task) -> str:
    """The id of the environment in its own package."""
    return f"Safety{task.name}-{'v1' if task.velocity_threshold is not None else 'v0'}"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"

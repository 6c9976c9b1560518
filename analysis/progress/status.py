"""How far a sweep is, read from its results folder alone: works beside a running one, on any machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from prefine_ray.analysis.best import best
from prefine_ray.analysis.columns import (
    BASE,
    COST,
    METHOD,
    PREFERRED,
    PREFINE,
    REWARD,
    SAFETY,
    SETTING,
    TASK,
    THRESHOLD,
    WEIGHT,
)
from prefine_ray.analysis.condition_plan import asked_conditions, missing_evaluations
from prefine_ray.analysis.estimates import policy_rows
from prefine_ray.analysis.progress.ended import ended_cells, run_rows
from prefine_ray.analysis.rows import kind_parts
from prefine_ray.analysis.summary import picked_weights
from prefine_ray.core.errors import last_line
from prefine_ray.experiment.cells import TEST, TUNING
from prefine_ray.results.folder import Damage, ResultsDir
from prefine_ray.results.heartbeat import UNREADABLE, SweepState, read_state
from prefine_ray.results.own_tasks import add_stored_tasks

_ERRORS = 5  # latest ones shown
_TABLE = ["done", "running", "failed", "left", "of"]


def status_text(root: Path) -> str:
    """Cells per task, what runs, throughput and time left, the best so far per task, the latest errors.

    Raises:
        ConfigError: the folder holds no sweep.
    """
    results = ResultsDir(root)
    name = results.saved_config().get("name")
    add_stored_tasks(results)
    state, grid = read_state(root), results.read_grid()
    if grid.empty:
        return "\n".join([f"{name} in {root}", driver_line(state), "no cells yet: data and base policies first"])
    damages = results.find_new_damages()
    lost = {cell for damage in damages for cell in damage.cells}
    grid_cells = set(grid["cell"]) - lost
    ended = ended_cells(results)
    trials, runs = (rows[rows["cell"].isin(grid_cells)] if len(rows) else rows for rows in (ended.trials, ended.runs))
    counts = _counts(grid, trials, _running(root, state))
    sections = [
        [
            f"{name} in {root}",
            driver_line(state),
            _pace(results, state, counts, ended.trials, {damage.pack for damage in damages}),
        ],
        [_table(counts), *_waiting_lines(results)],
        _running_lines(state),
        [f"best so far: {text}" for text in _best_texts(runs)],
        _missing_lines(results, grid, trials),
        damage_lines(damages),
        _error_lines(root, trials),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _counts(grid: pd.DataFrame, trials: pd.DataFrame, running: dict[str, int]) -> pd.DataFrame:
    """One row per task in the grid's order, base cells among them; columns `_TABLE`."""
    status = {} if trials.empty else dict(zip(trials["cell"], trials["status"], strict=True))
    cells = grid.assign(status=[status.get(cell, "left") for cell in grid["cell"]])
    rows = {}
    for task, group in cells.groupby("task", sort=False):
        done, failed = (int((group["status"] == name).sum()) for name in ("finished", "failed"))
        busy = min(running.get(str(task), 0), len(group) - done - failed)
        rows[task] = [done, busy, failed, len(group) - done - failed - busy, len(group)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=_TABLE)


def _running(root: Path, state: SweepState | None) -> dict[str, int]:
    """Cells in work by task; none where the driver is gone."""
    counts: dict[str, int] = {}
    for pack in state.running if state is not None and state.alive else []:
        counts[pack.task] = counts.get(pack.task, 0) + pack.cells
    return counts


def driver_line(state: SweepState | None) -> str:
    """Where the driver is and what it does."""
    if state is None:
        return "no run has begun"
    if state.phase == UNREADABLE:
        return f"damaged: {state.problem}; the next run of the sweep writes it again"
    where = f"process {state.pid} on {state.host}"
    if state.alive:
        return f"{state.phase} for {_duration(time.time() - state.started)}, {where}"
    ago = _duration(time.time() - state.updated)
    if state.phase in ("preparing", "running"):
        return f"LOST: {where} gave its last sign of life {ago} ago; run the same command again to resume"
    if state.phase == "lost":
        return f"LOST: Ray's head node was, {ago} ago, {where}; run the same command again to resume"
    if state.problem:
        return f"{state.phase} {ago} ago, {where}, by an error: {state.problem}"
    more = "; run the same command again to resume" if state.phase == "stopped" else ""
    return f"{state.phase} {ago} ago, {where}{more}"


def _pace(
    results: ResultsDir, state: SweepState | None, counts: pd.DataFrame, trials: pd.DataFrame, damaged: set[str]
) -> str:
    """Cells per hour of the latest run, and what is left at this pace."""
    total = counts.sum()
    ended = int(total["done"] + total["failed"])
    text = f"{ended} of {total['of']} cells ended, {total['failed']} of them failed"
    left = int(total["of"]) - ended
    recent = 0 if state is None else _ended_since(results, state.started, trials, damaged)
    if state is None or not state.alive or not recent:
        return text
    rate = recent / max(state.updated - state.started, 1.0)
    return f"{text}; {3600 * rate:.0f} cells/h" + (f", about {_duration(left / rate)} left" if left else "")


def _ended_since(results: ResultsDir, started: float, trials: pd.DataFrame, damaged: set[str]) -> int:
    """Cells whose rows were written since `started` (Unix time)."""
    recent = {path.stem for path in results.part_paths("trials") if path.stat().st_mtime >= started}
    return int(trials["pack"].isin(recent - damaged).sum()) if len(trials) else 0


def _table(counts: pd.DataFrame) -> str:
    return counts.rename_axis("task").reset_index().to_string(index=False)


def _waiting_lines(results: ResultsDir) -> list[str]:
    waiting = results.tasks_without_cells()
    return [f"no cells yet, as data and base policies come first: {', '.join(waiting)}"] if waiting else []


def _running_lines(state: SweepState | None) -> list[str]:
    lines = []
    for pack in state.running if state is not None and state.alive else []:
        again = f", lost {pack.failures} times so far" if pack.failures else ""
        lines.append(f"running: {pack.label}, {pack.cells} cells for {_duration(time.time() - pack.started)}{again}")
    return lines


def damage_lines(damages: Sequence[Damage]) -> list[str]:
    """The damaged files, and what makes them again."""
    lines = [f"damaged: {damage.problem}" for damage in damages]
    return [*lines, "run the same sweep command to run their cells again"] if lines else []


def best_texts(results: ResultsDir, task: str) -> list[str]:
    """The best policy of a task at each threshold, from what is on disk."""
    runs, grid = ended_cells(results).runs, results.read_grid()
    of_task = grid.loc[grid["task"] == task, "cell"]
    return _best_texts(runs[runs["cell"].isin(of_task)]) if len(runs) else []


def _best_texts(ended: pd.DataFrame) -> list[str]:
    """Per task and threshold the best policy so far, by `prefine_ray.analysis.best`, of PREFINE's the picked weight."""
    if ended.empty:
        return []
    runs = run_rows(ended[ended[METHOD] != BASE])
    if not (runs["split"] == TEST).any():
        return []
    tested, tuned = (policy_rows(runs[runs["split"] == split]) for split in (TEST, TUNING))
    picked = tested.merge(picked_weights(tested, tuned)[[*SETTING, WEIGHT]], on=[*SETTING, WEIGHT])
    policies = pd.concat([picked[picked[METHOD] == PREFINE], tested[tested[METHOD] != PREFINE]])
    return [
        f"{task} threshold {threshold:g}: {_policy_text(best(group))}"
        for (task, threshold), group in policies.groupby([TASK, THRESHOLD], sort=False)
    ]


def _missing_lines(results: ResultsDir, grid: pd.DataFrame, trials: pd.DataFrame) -> list[str]:
    conditions = asked_conditions(results)
    if not conditions or trials.empty:
        return []
    episodes = results.read("episodes", set(trials["cell"]))
    missing = len(missing_evaluations(grid, trials, episodes, conditions))
    return [f"evaluations under other conditions: at least {missing} left"] if missing else []


def _policy_text(row: pd.Series) -> str:
    weight = "" if pd.isna(row[WEIGHT]) else f" w={row[WEIGHT]:g}"
    preferred, number, label_noise = kind_parts(row[PREFERRED])
    size = f" N_p={number}" if number else ""
    noise = f" noise={label_noise:g}" if label_noise else ""
    scores = f"normalised reward {row[REWARD]:.2f}, cost {row[COST]:.2f}"
    return f"{row[METHOD]} {preferred}{size}{noise}{weight}, {scores} ({row[SAFETY]}, seeds: {row['seeds']})"


def _error_lines(root: Path, trials: pd.DataFrame) -> list[str]:
    if trials.empty or not (trials["status"] == "failed").any():
        return []
    failed = trials[trials["status"] == "failed"]
    failed = failed.assign(log=failed["log"].fillna("") if "log" in failed.columns else "")
    lines = []
    groups = failed.groupby(["task", "method", "error", "log"], sort=False, dropna=False)
    for (task, method, error, log), rows in list(groups)[-_ERRORS:]:
        lines.append(f"error: {task} {method}, {len(rows)} cells: {last_line(str(error))}")
        lines += [f"       log: {root / str(log)}"] if log else []
    return [*lines, "`prefine sweep CONFIG --retry-failed` runs the failed cells again"]


def _duration(seconds: float) -> str:
    """Human-readable: "45 s", "12 min", "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

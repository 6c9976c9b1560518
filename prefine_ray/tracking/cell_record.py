"""One cell's rows read back from its part of a results folder, and what a tracking system shows of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.tables import read_table
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.scores import episode_scores, score_means
from prefine_ray.tasks.spec import get_task


def _identity_columns() -> tuple[str, ...]:
    from prefine_ray.experiment.cells import identity_columns  # here: it loads torch

    return identity_columns()


def _not_metrics() -> set[str]:
    return {*_identity_columns(), "status", "error", "steps", "step"}


@dataclass(frozen=True)
class CellRows:
    """The rows of one cell; `curves` and `episodes` are empty where it has none."""

    trial: dict[str, Any]
    curves: pd.DataFrame
    episodes: pd.DataFrame  # those under other conditions, too
    ended_ms: int  # when it was written, in milliseconds of Unix time
    made_by: dict[str, Any] = field(default_factory=dict)  # of the policy's header; empty where there is no policy

    @property
    def failed(self) -> bool:
        """Whether the cell ended without a result."""
        return self.trial["status"] != "finished"

    @property
    def digest(self) -> str:
        """Tells a cell that ran again from its earlier outcome."""
        return text_digest(json.dumps(self.trial, default=str, sort_keys=True))

    @property
    def duration_ms(self) -> int:
        """The cell's share of its pack's wall-clock time."""
        seconds = self.trial.get("wall_s", 0.0)
        return 0 if pd.isna(seconds) else int(1000 * seconds)

    @property
    def label(self) -> str:
        """Human-readable label; unique within a sweep."""
        task, method, seed = (self.trial[key] for key in ("task", "method", "seed"))
        from prefine_ray.experiment.axes import label_of  # here: it loads torch

        axes = "" if method == "base" else label_of(self.trial)
        return f"{task} {method} seed {seed}" + (f" ({axes})" if axes else "")

    def params(self) -> dict[str, str]:
        """The method's settings (names joined by dots), the identity columns, the number of steps; what is given."""
        values = {**flat(self.made_by.get("settings", {})), "base_digest": self.made_by.get("base_digest")}
        values |= {key: self.trial.get(key) for key in (*_identity_columns(), "steps")}
        return {
            key: f"{value:.12g}" if isinstance(value, float) else str(value)
            for key, value in values.items()
            if isinstance(value, list) or (not pd.isna(value) and value != "")
        }

    def metrics(self) -> dict[tuple[str, int], float]:
        """Finite values by (name, step): learning curves, the last training metrics, evaluation means."""
        values: dict[tuple[str, int], Any] = {}
        for row in self.curves.to_dict("records"):
            values |= {(str(key), row["step"]): value for key, value in row.items() if key not in _not_metrics()}
        steps = self.trial.get("steps", 0)
        last = 0 if pd.isna(steps) else int(steps)
        final = {key: value for key, value in self.trial.items() if key not in _not_metrics()}
        values |= {(key, last): value for key, value in {**final, **self.evaluation()}.items()}
        return {
            (key, int(step)): float(value)
            for (key, step), value in values.items()
            if isinstance(value, int | float) and np.isfinite(value)
        }

    def evaluation(self) -> dict[str, float]:
        """Means over the evaluation episodes, named as by `prefine evaluate`.

        A policy without a threshold of its own (base, BC-All) has scores at each of the task's, as
        "violation_rate_20". Those under another condition begin with its name, as "reused/violation_rate".
        """
        if self.episodes.empty:
            return {}
        plain = "base" if self.trial["method"] == "base" else "finetuned"
        values: dict[str, float] = {}
        for stage, rows in self.episodes.groupby("stage"):
            first, _, condition = str(stage).partition("-")
            if first == plain:
                prefix = f"{condition}/" if condition else ""
                values |= {prefix + name: value for name, value in self._means(rows).items()}
        return values

    def _means(self, rows: pd.DataFrame) -> dict[str, float]:
        task = get_task(self.trial["task"])
        sums = [rows[name].to_numpy() for name in ("return", "cost", "terminated")]
        means = {"episodes": float(len(rows)), "mean_return": float(sums[0].mean()), "mean_cost": float(sums[1].mean())}
        own = self.trial["threshold"]
        at = {f"_{t:g}": t for t in task.thresholds} if pd.isna(own) else {"": own}
        for suffix, threshold in at.items():
            found = score_means(episode_scores(task, threshold, *sums))
            means["normalized_reward"] = found.pop("normalized_reward")  # the same at every threshold
            means |= {f"{name}{suffix}": value for name, value in found.items()}
        return means


def read_part(results: ResultsDir, name: str) -> dict[str, CellRows]:
    """The cells of one part by name; reads this part only, whatever the size of the sweep.

    Raises:
        DamagedFileError: a file of the part was cut or altered.
    """
    curves = _by_cell(results.read_part("curves", name))
    episodes = _by_cell(pd.concat([results.read_part("episodes", name), results.read_conditions(name)]))
    ended_ms = int(1000 * results.part_path("trials", name).stat().st_mtime)
    nothing = pd.DataFrame()
    cells = {}
    for row in results.read_part("trials", name).to_dict("records"):
        cell = str(row["cell"])
        trial = {str(key): value for key, value in row.items()}
        own = (curves.get(cell, nothing), episodes.get(cell, nothing))
        cells[cell] = CellRows(trial, *own, ended_ms, _made_by(results.policy_path(cell)))
    return cells


def count_cells(results: ResultsDir, name: str) -> int:
    """The number of cells of one part."""
    return len(read_table(results.part_path("trials", name), ["cell"]))


def text_digest(text: str) -> str:
    """A short hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_cell(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {} if rows.empty else {str(cell): of_cell for cell, of_cell in rows.groupby("cell")}


def _made_by(policy: Path) -> dict[str, Any]:
    """What a policy's header says of its making; empty where there is no policy, or one that cannot be read."""
    from prefine_ray.policies.files import read_header  # here: it loads torch

    try:
        return dict(read_header(policy).made_by)
    except DamagedFileError:
        return {}


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level, the names joined by dots."""
    one_level: dict[str, Any] = {}
    for key, value in content.items():
        one_level |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return one_level

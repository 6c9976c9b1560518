"""The results folder: the truth of a sweep, of which tables, plots and MLflow are views.

    DIR/config.yaml              the configuration of the latest run
    DIR/parts/<kind>/<name>.parquet   rows of one finished pack; kinds are episodes, curves, trials
    DIR/policies/<cell>.safetensors
    DIR/{episodes,trials,curves}.parquet   the parts of the present grid, merged

A pack's `trials` part is written last and makes it count: rows without it are not seen.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from prefine_ray.files import atomic_path, write_text

KINDS = ("curves", "episodes", "trials")  # in the order of writing
_ORDER = ["method", "task", "preferred", "num_preferred", "label_noise", "threshold", "weight", "seed"]


class ResultsDir:
    """Append-only parts; every file is whole or absent."""

    def __init__(self, root: str | Path):
        self.root = Path(root).absolute()  # trials run in folders of their own

    @property
    def config_path(self) -> Path:
        """The configuration of the latest run."""
        return self.root / "config.yaml"

    def policy_path(self, cell: str) -> Path:
        """Where a cell's fine-tuned policy lies."""
        return self.root / "policies" / f"{cell}.safetensors"

    def write_config(self, text: str) -> None:
        """Keeps the configuration beside its results."""
        write_text(self.config_path, text)

    def write_part(self, name: str, rows: dict[str, pd.DataFrame]) -> None:
        """Adds the rows of a finished pack; `rows` has a frame per kind, `trials` among them."""
        for kind in KINDS:
            if kind in rows and not rows[kind].empty:
                with atomic_path(self._part(kind, name)) as temporary:
                    rows[kind].to_parquet(temporary, index=False)

    def read_part(self, kind: str, name: str) -> pd.DataFrame:
        """The rows of one pack; empty where it has none."""
        path = self._part(kind, name)
        return pd.read_parquet(path) if path.exists() else pd.DataFrame()

    def finished_cells(self) -> set[str]:
        """Names of the cells whose results are complete on disk (failed ones too, with their reason)."""
        trials = self._read_parts("trials")
        return set() if trials.empty else set(trials["cell"])

    def forget_failed(self) -> int:
        """Forgets the cells recorded as failed so that they run again; returns their number."""
        trials = self._read_parts("trials")
        failed = set() if trials.empty else set(trials.loc[trials["status"] == "failed", "cell"])
        for kind in reversed(KINDS) if failed else ():  # trials first: the cells are gone before their rows are
            for path in self._part_paths(kind):
                rows = pd.read_parquet(path)
                kept = rows[~rows["cell"].isin(failed)]
                if len(kept) < len(rows):
                    with atomic_path(path) as temporary:
                        kept.to_parquet(temporary, index=False)
        return len(failed)

    def read(self, kind: str, cells: Collection[str] | None = None) -> pd.DataFrame:
        """All rows of a kind in a fixed order, of these cells only if given; each cell once."""
        rows = self._read_parts(kind)
        if rows.empty:
            return rows
        keep = self.finished_cells() if cells is None else self.finished_cells() & set(cells)
        rows = rows[rows["cell"].isin(keep)]
        keys = [name for name in (*_ORDER, "stage", "step", "episode") if name in rows]
        return rows.sort_values(keys, kind="stable").drop_duplicates(keys).reset_index(drop=True)

    def merge(self, cells: Collection[str]) -> None:
        """Writes DIR/<kind>.parquet from the parts, for the cells of the present grid."""
        for kind in KINDS:
            rows = self.read(kind, cells)
            if not rows.empty:
                with atomic_path(self.root / f"{kind}.parquet") as temporary:
                    rows.to_parquet(temporary, index=False)

    def _part(self, kind: str, name: str) -> Path:
        return self.root / "parts" / kind / f"{name}.parquet"

    def _part_paths(self, kind: str) -> list[Path]:
        return sorted((self.root / "parts" / kind).glob("[!.]*.parquet"))

    def _read_parts(self, kind: str) -> pd.DataFrame:
        frames = [pd.read_parquet(path) for path in self._part_paths(kind)]
        frames = [frame for frame in frames if not frame.empty]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

"""Where everything lies in a results folder; no other module puts these paths together.

DIR/config.yaml              the configuration of the latest run
DIR/parts/<kind>/<name>.parquet   rows of one finished pack; kinds are episodes, curves, trials
DIR/parts/conditions/...     rows of its policies under other conditions (see `prefine_ray.results.condition_rows`)
DIR/policies/<cell>.safetensors
DIR/logs/<pack>.log          errors of a pack in full
DIR/cells.parquet            the cells of the present grid, finished or not
DIR/{episodes,trials,curves}.parquet   the parts of the present grid, merged
DIR/state.json               what the driver does now
DIR/tables, plots, report.html, best.yaml   made from the rows
DIR/clips                    episodes of base and picked policies, if they were asked for
DIR/mlflow                   MLflow's local store, and what was sent
DIR/cache                    what saves reading everything again; may be deleted
DIR/tensorboard              event files, if they were asked for
DIR/ray                      Ray's own files of a run
"""

from __future__ import annotations

from pathlib import Path


class ResultsPaths:
    """The paths of one results folder; nothing needs to be there."""

    def __init__(self, root: str | Path):
        self.root = Path(root).absolute()  # trials run in folders of their own
        self.config_path = self.root / "config.yaml"
        self.grid_path = self.root / "cells.parquet"
        self.state_path = self.root / "state.json"
        self.lock_path = self.root / ".lock"
        self.report_page = self.root / "report.html"
        self.best_path = self.root / "best.yaml"  # of a search: the best setting
        self.tables_folder = self.root / "tables"
        self.headline_path = self.tables_folder / "headline.json"
        self.plots_folder = self.root / "plots"
        self.clips_folder = self.root / "clips"
        self.mlflow_folder = self.root / "mlflow"
        self.tensorboard_folder = self.root / "tensorboard"
        self.ray_folder = self.root / "ray"
        self.parts_folder = self.root / "parts"
        self.conditions_folder = self.parts_folder / "conditions"
        self.policies_folder = self.root / "policies"
        self.cache_folder = self.root / "cache"
        self.checked_path = self.cache_folder / "checked.json"

    def policy_path(self, cell: str) -> Path:
        """Where a cell's fine-tuned policy lies."""
        return self.policies_folder / f"{cell}.safetensors"

    def log_path(self, pack: str) -> Path:
        """Where the errors of a pack are kept in full."""
        return self.root / "logs" / f"{pack}.log"

    def merged_path(self, kind: str) -> Path:
        """Where the rows of a kind lie, of all cells of the present grid."""
        return self.root / f"{kind}.parquet"

    def part_path(self, kind: str, name: str) -> Path:
        """Where the rows of a pack lie."""
        return self.parts_folder / kind / f"{name}.parquet"

    def part_paths(self, kind: str) -> list[Path]:
        """The parts of a kind that are there, in a fixed order."""
        return sorted((self.parts_folder / kind).glob("[!.]*.parquet"))

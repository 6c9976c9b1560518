"""The results folder: the truth of a sweep, of which tables, plots and MLflow are views.

    DIR/config.yaml              the configuration of the latest run
    DIR/parts/<kind>/<name>.parquet   rows of one finished pack; kinds are episodes, curves, trials
    DIR/policies/<cell>.safetensors
    DIR/logs/<pack>.log          errors of a pack in full
    DIR/cells.parquet            the cells of the present grid, finished or not
    DIR/{episodes,trials,curves}.parquet   the parts of the present grid, merged

A pack's `trials` part is written last and makes it count: rows without it are not seen.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import yaml
from filelock import FileLock, Timeout

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import atomic_path, write_text

KINDS = ("curves", "episodes", "trials")  # in the order of writing
_ORDER = ["method", "task", "preferred", "num_preferred", "label_noise", "threshold", "weight", "seed"]


_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")  # where only an error's text is left
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of a file system without locks
_STALE_S = 24 * 3600.0  # age of a temporary file that nobody writes any more


class ResultsFolderError(PrefineError, ValueError):
    """A folder is no results folder; the message names the file that is missing or wrong."""


class StorageError(PrefineError, OSError):
    """The disk of the results folder is full; the message says the remedy."""


class FolderInUseError(PrefineError, RuntimeError):
    """Another sweep works in the results folder."""


def is_full(error: BaseException | str) -> bool:
    """Whether an error, or its text, says that a disk is full."""
    return getattr(error, "errno", None) in _FULL or any(text in str(error) for text in _FULL_TEXTS)


def full_message(root: Path) -> str:
    """What to do about a full disk."""
    return (
        f"{root}: No space left on device. Finished cells are safe there; make room and start the same command again "
        "to resume"
    )


class ResultsDir:
    """Append-only parts; every file is whole or absent."""

    def __init__(self, root: str | Path):
        self.root = Path(root).absolute()  # trials run in folders of their own

    @property
    def config_path(self) -> Path:
        """The configuration of the latest run."""
        return self.root / "config.yaml"

    def saved_config(self) -> dict[str, Any]:
        """The configuration of the latest run as plain values, also where this version would refuse it.

        Raises:
            ResultsFolderError: the folder has none, or it cannot be read.
        """
        try:
            content = yaml.safe_load(self.config_path.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise ResultsFolderError(
                f"{self.config_path}: cannot be read: {error}; is this a results folder?"
            ) from error
        if not isinstance(content, dict):
            raise ResultsFolderError(f"{self.config_path}: not a configuration")
        return content

    @property
    def is_search(self) -> bool:
        """Whether the folder is of a hyperparameter search."""
        return self.config_path.exists() and "search" in self.saved_config()

    def policy_path(self, cell: str) -> Path:
        """Where a cell's fine-tuned policy lies."""
        return self.root / "policies" / f"{cell}.safetensors"

    def log_path(self, pack: str) -> Path:
        """Where the errors of a pack are kept in full."""
        return self.root / "logs" / f"{pack}.log"

    def write_config(self, text: str) -> None:
        """Keeps the configuration beside its results."""
        with self._storage():
            write_text(self.config_path, text)

    def write_grid(self, cells: Sequence[dict[str, Any]]) -> None:
        """Keeps the names and axes of all cells of the present grid, finished or not."""
        with self._storage(), atomic_path(self.root / "cells.parquet") as temporary:
            pd.DataFrame(cells).to_parquet(temporary, index=False)

    def read_grid(self) -> pd.DataFrame:
        """The cells of the present grid; empty where no sweep has begun."""
        path = self.root / "cells.parquet"
        return pd.read_parquet(path) if path.exists() else pd.DataFrame()

    def append_log(self, pack: str, text: str) -> None:
        """Adds an error of a pack to its log."""
        path = self.log_path(pack)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')} on {socket.gethostname()}\n{text.rstrip()}\n\n")

    def write_failure(self, pack: str, cells: Sequence[dict[str, Any]], error: str) -> None:
        """Records the cells of a pack as failed, with the reason (the error's last line) and the place of its log.

        Args:
            pack: name of the pack.
            cells: identity columns of its cells.
            error: the error in full.
        """
        self.append_log(pack, error)
        reason = error.strip().splitlines()[-1] if error.strip() else "unknown error"
        log = str(self.log_path(pack).relative_to(self.root))
        rows = [{**cell, "status": "failed", "error": reason, "log": log} for cell in cells]
        self.write_part(pack, {"trials": pd.DataFrame(rows)})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other sweeps out of the folder until this one ends, however it ends.

        Raises:
            FolderInUseError: another sweep works in the folder.
        """
        lock, signature = FileLock(self.root / ".lock", blocking=False, fallback_to_soft=False), self.root / ".lock"
        with self._storage():
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise FolderInUseError(
                    f"{self.root}: another sweep works in this folder ({signature.read_text().strip()}); wait for it, "
                    "end it, or give another --results"
                ) from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
        try:
            with self._storage():
                signature.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            self._remove_stale()
            yield
        finally:
            lock.release()

    def write_part(self, name: str, rows: dict[str, pd.DataFrame]) -> None:
        """Adds the rows of a finished pack; `rows` has a frame per kind, `trials` among them."""
        for kind in KINDS:
            if kind in rows and not rows[kind].empty:
                with self._storage(), atomic_path(self.part_path(kind, name)) as temporary:
                    rows[kind].to_parquet(temporary, index=False)

    def read_part(self, kind: str, name: str) -> pd.DataFrame:
        """The rows of one pack; empty where it has none."""
        path = self.part_path(kind, name)
        return _read(path) if path.exists() else pd.DataFrame()

    def finished_cells(self) -> set[str]:
        """Names of the cells whose results are complete on disk (failed ones too, with their reason)."""
        return {cell for path in self.part_paths("trials") for cell in _read(path, ["cell"])["cell"]}

    def forget_failed(self) -> int:
        """Forgets the cells recorded as failed so that they run again; returns their number."""
        trials = self._read_parts("trials")
        failed = set() if trials.empty else set(trials.loc[trials["status"] == "failed", "cell"])
        for kind in reversed(KINDS) if failed else ():  # trials first: the cells are gone before their rows are
            for path in self.part_paths(kind):
                rows = pd.read_parquet(path)
                kept = rows[~rows["cell"].isin(failed)]
                if len(kept) < len(rows):
                    with atomic_path(path) as temporary:
                        kept.to_parquet(temporary, index=False)
        return len(failed)

    def read(self, kind: str, cells: Collection[str] | None = None) -> pd.DataFrame:
        """All rows of a kind in a fixed order, of these cells only if given; each cell once."""
        finished = self.finished_cells()
        return self._read_cells(kind, finished if cells is None else finished & set(cells))

    def _read_cells(self, kind: str, cells: Collection[str]) -> pd.DataFrame:
        rows = self._read_parts(kind)
        if rows.empty:
            return rows
        rows = rows[rows["cell"].isin(cells)]
        within = [name for name in ("cell", "stage", "step", "episode") if name in rows]
        order = [*(name for name in _ORDER if name in rows), *within]  # cells may differ in other axes
        return rows.sort_values(order, kind="stable").drop_duplicates(within).reset_index(drop=True)

    def merge(self, cells: Collection[str]) -> None:
        """Writes DIR/<kind>.parquet from the parts, for the cells of the present grid."""
        finished = self.finished_cells() & set(cells)
        for kind in KINDS:
            rows = self._read_cells(kind, finished)
            if not rows.empty:
                with self._storage(), atomic_path(self.root / f"{kind}.parquet") as temporary:
                    rows.to_parquet(temporary, index=False)

    @contextmanager
    def _storage(self) -> Iterator[None]:
        """Turns a full disk's error into one that says what to do."""
        try:
            yield
        except OSError as error:
            if not is_full(error) or isinstance(error, StorageError):
                raise
            raise StorageError(full_message(self.root)) from error

    def _remove_stale(self) -> None:
        """Removes temporary files that a killed process left behind."""
        for folder in ("parts", "policies"):
            for path in (self.root / folder).rglob(".*"):
                if path.is_file() and time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink(missing_ok=True)

    def packs(self) -> list[str]:
        """Names of the packs that count, in a fixed order."""
        return [path.stem for path in self.part_paths("trials")]

    def part_path(self, kind: str, name: str) -> Path:
        """Where the rows of a kind of a pack lie."""
        return self.root / "parts" / kind / f"{name}.parquet"

    def part_paths(self, kind: str) -> list[Path]:
        """The parts of a kind that are there, in a fixed order."""
        return sorted((self.root / "parts" / kind).glob("[!.]*.parquet"))

    def _read_parts(self, kind: str) -> pd.DataFrame:
        frames = [_read(path) for path in self.part_paths(kind)]
        frames = [frame for frame in frames if not frame.empty]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _read(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """A small parquet file: without Arrow's threads and data set layer this takes a quarter of pandas' time."""
    with pq.ParquetFile(path) as file:
        return file.read(columns, use_threads=False).to_pandas(use_threads=False)

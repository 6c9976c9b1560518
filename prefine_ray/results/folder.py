"""The results folder: the truth of a sweep, of which tables, plots and MLflow are views.

A pack's `trials` part is written last and commits the pack: rows without it are not seen. It holds the checksums of the
pack's other parts and policies, so that what is missing or altered is found (`find_damages`) and run again (`repair`).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import Timeout

from prefine_ray.core.checked_yaml import YAMLContentError, parse_yaml
from prefine_ray.core.errors import DamagedFileError, PrefineError, last_line
from prefine_ray.core.files import file_digest, locked, write_text
from prefine_ray.core.tables import read_notes, read_table, write_table
from prefine_ray.results.checked import CheckedPacks
from prefine_ray.results.checkpoints import fit_folder, fit_problem
from prefine_ray.results.condition_rows import ConditionParts
from prefine_ray.results.paths import ResultsPaths

KINDS = ("curves", "episodes", "trials")  # in the order of writing
_ORDER = ["method", "task", "preferred", "num_preferred", "label_noise", "threshold", "weight", "seed"]
_PACK = "pack"  # the note of a `trials` part that says whose it is
_POLICIES = "policies"  # the note with the digests of a pack's policy files, by cell
_log = logging.getLogger(__name__)
# Why nothing more can be written, by error number; the texts are looked for where only an error's text is left.
_UNWRITABLE = {number: os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)}
_STALE_S = 24 * 3600.0  # age of a temporary file that nobody is writing


class ResultsFolderError(PrefineError, ValueError):
    """A folder is no results folder; the message names the file that is missing or wrong."""


class StorageError(PrefineError, OSError):
    """Nothing more can be written, since a disk is full or read-only; the message names the place and the remedy."""


class FolderInUseError(PrefineError, RuntimeError):
    """Another sweep works in the results folder."""


def storage_problem(error: BaseException | str) -> str:
    """Why nothing more can be written, from an error or its text: a full or read-only disk; "" for other errors."""
    if problem := _UNWRITABLE.get(getattr(error, "errno", None) or 0):
        return problem
    return next((problem for problem in _UNWRITABLE.values() if problem in str(error)), "")


def storage_message(root: Path, problem: str, place: Path | None = None) -> str:
    """What to do where nothing more can be written to `place`, which is the results folder `root` by default."""
    remedy = "make it writable" if problem == os.strerror(errno.EROFS) else "make room"
    return (
        f"{place or root}: {problem}. Finished cells are safe{' there' if place is None else f' in {root}'}; {remedy} "
        "and start the same command again to resume"
    )


@dataclass(frozen=True)
class Damage:
    """A file of a finished pack, or of a checkpoint, that is missing, cut or altered."""

    problem: str  # names the file
    pack: str
    cells: frozenset[str]  # whose results it takes away; empty where the rows that name them are unreadable
    path: Path | None = None  # of a file that takes no cell's result away; without it, its rows are made again
    fit: Path | None = None  # the folder of a fit that has not ended, where its checkpoint is at fault


class ResultsDir(ResultsPaths):
    """Append-only parts; every file is whole or absent."""

    def __init__(self, root: str | Path):
        super().__init__(root)
        self._conditions = ConditionParts(self.conditions_folder)

    def saved_config(self) -> dict[str, Any]:
        """The configuration of the latest run as plain values, also where this version would refuse it.

        Raises:
            ResultsFolderError: the folder has none, or it cannot be read.
        """
        try:
            content = parse_yaml(self.config_path.read_text())
        except (OSError, UnicodeDecodeError, YAMLContentError) as error:
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

    def write_config(self, text: str) -> None:
        """Keeps the configuration beside its results."""
        with self._storage():
            write_text(self.config_path, text)

    def write_grid(self, cells: Sequence[dict[str, Any]]) -> None:
        """Keeps the names and axes of all cells of the present grid, finished or not."""
        with self._storage():
            write_table(self.grid_path, pd.DataFrame(cells))

    def read_grid(self) -> pd.DataFrame:
        """The cells of the present grid; empty where no sweep has begun.

        Raises:
            DamagedFileError: the file was cut or altered; the next run of the sweep writes it again.
        """
        return read_table(self.grid_path) if self.grid_path.exists() else pd.DataFrame()

    def tasks_without_cells(self) -> list[str]:
        """The tasks of the configuration that are not in the grid: their data or base policies are not there yet."""
        grid = self.read_grid()
        tasks = self.saved_config().get("tasks", ()) if len(grid) else ()
        return [task for task in tasks if task not in set(grid["task"])]

    def append_log(self, pack: str, text: str) -> None:
        """Adds an error of a pack to its log."""
        path = self.log_path(pack)
        with self._storage():
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._storage(), open(path, "a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S %Z')} on {socket.gethostname()}\n{text.rstrip()}\n\n")

    def write_failure(self, pack: str, cells: Sequence[dict[str, Any]], error: str) -> None:
        """Records the cells of a pack as failed, with the reason (the error's last line) and the place of its log.

        Args:
            pack: name of the pack.
            cells: identity columns of its cells.
            error: the error in full.
        """
        self.append_log(pack, error)
        reason = last_line(error)
        log = str(self.log_path(pack).relative_to(self.root))
        rows = [{**cell, "status": "failed", "error": reason, "log": log} for cell in cells]
        self.write_part(pack, {"trials": pd.DataFrame(rows)})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other sweeps out of the folder until this one ends, however it ends.

        Raises:
            FolderInUseError: another sweep works in the folder.
        """
        lock = self.lock_path
        with ExitStack() as stack:
            with self._storage():
                self.root.mkdir(parents=True, exist_ok=True)
                try:
                    stack.enter_context(locked(lock, wait=False))
                except Timeout as error:
                    raise FolderInUseError(
                        f"{self.root}: another sweep works in this folder ({lock.read_text().strip()}); wait for it, "
                        "end it, or give another --results"
                    ) from error
                lock.write_text(f"process {os.getpid()} on {socket.gethostname()}")
            self._remove_stale()
            yield

    def write_part(self, name: str, rows: Mapping[str, pd.DataFrame], policies: Collection[str] = ()) -> None:
        """Adds the rows of a finished pack; `rows` has a frame per kind, `trials` among them.

        Args:
            name: the pack.
            rows: a frame per kind.
            policies: cells whose policy files lie in the folder and belong to the pack.
        """
        notes = {_PACK: name, _POLICIES: json.dumps({cell: file_digest(self.policy_path(cell)) for cell in policies})}
        for kind in KINDS:
            if kind not in rows or rows[kind].empty:
                continue
            with self._storage():
                if kind == "trials":
                    write_table(self.part_path(kind, name), rows[kind], notes)
                else:
                    notes[kind] = write_table(self.part_path(kind, name), rows[kind])

    def write_conditions(self, pack: str, condition: str, rows: pd.DataFrame) -> None:
        """Adds the episodes of some of a finished pack's cells under one condition (its name)."""
        with self._storage():
            self._conditions.write(pack, condition, rows, self._policy_digests(pack))

    def read_conditions(self, pack: str) -> pd.DataFrame:
        """The episodes of a pack's present policies under other conditions than the plain one; empty without any."""
        return self._conditions.read(pack, self._policy_digests(pack))

    def part_versions(self) -> dict[str, str]:
        """The finished packs by name, with a text that changes when rows of theirs are written again or added."""
        files = {path.stem: path.stat() for path in self.part_paths("trials")}
        more = self._conditions.versions()
        return {
            name: "-".join([str(file.st_mtime_ns), str(file.st_size), *([more[name]] if name in more else [])])
            for name, file in files.items()
        }

    def owners(self, packs: Collection[str] | None = None) -> dict[str, str]:
        """The pack of each cell that has ended, in these packs if given."""
        return {cell: name for name, cells in self._owned_cells(packs) for cell in cells}

    def read_part(self, kind: str, name: str) -> pd.DataFrame:
        """The rows of one pack; empty where it has none.

        Raises:
            DamagedFileError: the file was cut or altered, or is not the one that the pack was finished with.
        """
        path = self.part_path(kind, name)
        if kind == "trials":
            return self._trials(name) if path.exists() else pd.DataFrame()
        wanted = self._notes(name).get(kind, "")
        return read_table(path, sha256=wanted) if wanted or path.exists() else pd.DataFrame()

    def finished_cells(self) -> set[str]:
        """Names of the cells whose results are complete on disk (failed ones too, with their reason)."""
        return {cell for _, cells in self._owned_cells() for cell in cells}

    def forget_failed(self) -> int:
        """Forgets the cells recorded as failed so that they run again; returns their number."""
        count = 0
        for name in self.packs():
            try:
                trials = self.read_part("trials", name)
            except DamagedFileError:
                continue  # `repair` names it
            failed = set(trials.loc[trials["status"] == "failed", "cell"])
            count += len(failed)
            self._forget(name, failed)
        return count

    def find_damages(self) -> list[Damage]:
        """Reads every file of every finished pack, and every checkpoint, and compares its checksum."""
        return [*(damage for name in self.packs() for damage in self._damages_of(name)), *self._damaged_fits()]

    def find_new_damages(self) -> list[Damage]:
        """As `find_damages`, without reading packs again that look as they did when they were last found whole."""
        checked, found = CheckedPacks(self, KINDS), []
        for name in self.packs():
            if checked.is_whole(name):
                continue
            damages = list(self._damages_of(name))
            found += damages
            if not damages:
                checked.add(name, self._policy_digests(name))
        checked.write()
        return [*found, *self._damaged_fits()]

    def repair(self) -> list[Damage]:
        """Forgets the cells whose files are damaged, so that they run again; returns what was found."""
        damages = self.find_damages()
        for damage in damages:
            if damage.path:
                damage.path.unlink()
            elif damage.fit:
                shutil.rmtree(damage.fit, ignore_errors=True)
            elif damage.cells:
                self._forget(damage.pack, damage.cells)
            else:
                self.part_path("trials", damage.pack).unlink()
        return damages

    def read(
        self, kind: str, cells: Collection[str] | None = None, packs: Collection[str] | None = None
    ) -> pd.DataFrame:
        """All rows of a kind in a fixed order, of these cells and packs only if given; each cell once.

        Episodes are those under other conditions, too.
        Damaged files are left out, with a warning each.
        """
        frames = []
        asked = None if cells is None else frozenset(cells)
        for name, owned in self._owned_cells(packs):
            wanted = owned if asked is None else owned & asked
            try:
                rows = self.read_part(kind, name) if wanted else pd.DataFrame()
            except DamagedFileError as error:
                _log.warning("%s; its rows are left out", error)
                continue
            if not rows.empty:
                frames.append(rows[rows["cell"].isin(wanted)])
            if not rows.empty and kind == "episodes" and not (more := self.read_conditions(name)).empty:
                frames.append(more[more["cell"].isin(wanted)])
        frames = [frame for frame in frames if not frame.empty]
        if not frames:
            return pd.DataFrame()
        rows = pd.concat(frames, ignore_index=True)
        within = [name for name in ("cell", "stage", "step", "episode") if name in rows]
        order = [*(name for name in _ORDER if name in rows), *within]  # cells may differ in other axes
        return rows.sort_values(order, kind="stable").drop_duplicates(within).reset_index(drop=True)

    def merge(self, cells: Collection[str]) -> None:
        """Writes DIR/<kind>.parquet from the parts, for the cells of the present grid."""
        for kind in KINDS:
            rows = self.read(kind, cells)
            if not rows.empty:
                with self._storage():
                    write_table(self.merged_path(kind), rows)

    def merge_new(self) -> None:
        """Merges again where packs have ended since, as in a sweep that still runs; not into a read-only folder."""
        ended = [path.stat().st_mtime_ns for path in (*self.part_paths("trials"), *self._conditions.paths())]
        merged = self.merged_path("trials")
        if not ended or (merged.exists() and merged.stat().st_mtime_ns >= max(ended)):
            return
        grid = self.read_grid()
        if len(grid):
            with suppress(PermissionError, StorageError):
                self.merge(grid["cell"])

    def packs(self) -> list[str]:
        """Names of the packs that are finished, in a fixed order."""
        return [path.stem for path in self.part_paths("trials")]

    def _owned_cells(self, packs: Collection[str] | None = None) -> Iterator[tuple[str, set[str]]]:
        """The packs with the cells whose rows are taken from each; a cell that two packs hold is the first one's."""
        seen: set[str] = set()
        for name in self.packs() if packs is None else sorted(packs):
            try:
                trials = self._trials(name, ["cell", "status"])
                missing = [kind for kind in self._kinds_needed(name, trials) if not self.part_path(kind, name).exists()]
            except DamagedFileError:
                continue  # `find_damages` names it
            cells = set((trials[trials["status"] == "failed"] if missing else trials)["cell"]) - seen
            seen |= cells
            yield name, cells

    def _trials(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The `trials` part of a pack; older versions wrote no checksum and no name into it."""
        path = self.part_path("trials", name)
        notes = read_notes(path)
        if "sha256" in notes and notes.get(_PACK) != name:
            raise DamagedFileError(f"{path}: is another file than the one that was written there")
        return read_table(path, columns)

    def _kinds_needed(self, name: str, trials: pd.DataFrame) -> list[str]:
        """The kinds beside `trials` that a pack has to have; packs of old versions do not say, but have episodes."""
        if not (trials["status"] == "finished").any():
            return []
        noted = [kind for kind in KINDS if kind in self._notes(name)]
        return noted or ["episodes"]

    def _damages_of(self, name: str) -> Iterator[Damage]:
        try:
            trials, notes = self.read_part("trials", name), self._notes(name)
        except DamagedFileError as error:
            yield Damage(str(error), name, frozenset())
            return
        finished = frozenset(trials.loc[trials["status"] == "finished", "cell"])
        for kind in self._kinds_needed(name, trials):
            try:
                rows = read_table(self.part_path(kind, name), ["cell"], notes.get(kind, ""))
            except DamagedFileError as error:
                yield Damage(str(error), name, finished)
                continue
            if kind == "episodes" and (lacking := finished - set(rows["cell"])):
                yield Damage(f"{self.part_path(kind, name)}: lacks the rows of {len(lacking)} cells", name, lacking)
        for path, problem in self._conditions.damaged(name):
            yield Damage(problem, name, frozenset(), path)
        for cell, digest in self._policy_digests(name).items():
            path = self.policy_path(cell)
            if cell in finished and not path.is_file():
                yield Damage(f"{path}: the policy of a finished cell is missing", name, frozenset([cell]))
            elif cell in finished and file_digest(path) != digest:
                yield Damage(f"{path}: is not the policy that was written; it was altered", name, frozenset([cell]))

    def _policy_digests(self, name: str) -> dict[str, str]:
        """The digests of a pack's policy files by cell."""
        return json.loads(self._notes(name).get(_POLICIES, "{}"))

    def _damaged_fits(self) -> Iterator[Damage]:
        for folder in sorted(path for path in fit_folder(self.root).glob("*") if path.is_dir()):
            if problem := fit_problem(folder):
                yield Damage(problem, folder.name, frozenset(), fit=folder)

    def _notes(self, name: str) -> dict[str, str]:
        path = self.part_path("trials", name)
        return read_notes(path) if path.exists() else {}

    def _forget(self, name: str, cells: Collection[str]) -> None:
        """Takes these cells out of a pack's `trials` part; their other rows then belong to nobody and are not read."""
        path = self.part_path("trials", name)
        if not cells or not path.exists():
            return
        trials, notes = self._trials(name), read_notes(path)
        kept = trials[~trials["cell"].isin(cells)]
        if kept.empty:
            path.unlink()
        elif len(kept) < len(trials):
            write_table(path, kept, {key: value for key, value in notes.items() if key != "sha256"})

    @contextmanager
    def _storage(self) -> Iterator[None]:
        """Turns the error of a full or read-only disk into one that says what to do."""
        try:
            yield
        except OSError as error:
            problem = storage_problem(error)
            if not problem or isinstance(error, StorageError):
                raise
            raise StorageError(storage_message(self.root, problem)) from error

    def _remove_stale(self) -> None:
        """Removes temporary files that a killed process left behind."""
        for folder in (self.parts_folder, self.policies_folder):
            for path in folder.rglob(".*"):
                if path.is_file() and time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink(missing_ok=True)

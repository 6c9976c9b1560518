"""The DSRL HDF5 files that hold trajectories.

A DSRL file (Liu et al., arXiv 2306.09303) has flat datasets over T steps: `observations`,
`next_observations`, `actions`, `rewards`, `costs`, `terminals`, `timeouts`; an episode ends where
`terminals` or `timeouts` is 1. Our own files add a group `infos` with the reset seed and the behaviour of
the episode that a step belongs to, one value per step since OSRL masks every data set of a file by step, and
attributes such as the hash of the recipe. Older files have one value per episode in a group `episodes`.
"""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import atomic_path
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.hdf5_storage import storage_problem
from prefine_ray.data.plausibility import ImpossibleDataError, SuccessorCheck, cost_doubt
from prefine_ray.data.trajectories import (
    EPISODE_DATASETS,
    FLAGS,
    MATRICES,
    NUMBERS,
    STEP_DATASETS,
    Trajectories,
    _episode_fields,
    step_rows,
)
from prefine_ray.tasks.spec import Task, get_task

STEP_GROUP, EPISODE_GROUP = "infos", "episodes"  # of `EPISODE_DATASETS`, per step and (older files) per episode
_EXTRAS = [f"{group}/{name}" for group in (EPISODE_GROUP, STEP_GROUP) for name in EPISODE_DATASETS]
_CHUNK_BYTES = 2**19  # of our own files: half the HDF5 chunk cache
_BLOCK_BYTES = 2**24  # read at a time
_MAX_STEPS = 10**8
_DIGEST = "sha256"  # the attribute with the checksum of all arrays
_log = logging.getLogger(__name__)


class TrajectoryFileError(PrefineError, ValueError):
    """A data file cannot be used; the message names file, dataset and row, and what would be right."""


def write_dsrl(
    path: str | Path, trajectories: Trajectories, attrs: Mapping[str, str | int | float] | None = None
) -> None:
    """Writes a DSRL file atomically; `attrs` become attributes of the file. Equal arguments give equal bytes.

    Compression is gzip 1 with shuffle: a tenth (dense observations) to a third (lidar) smaller than plain.

    Raises:
        ValueError: an array holds NaN or inf.
    """
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name in STEP_DATASETS:
            array = getattr(trajectories, name)
            if _first_not_finite(array) is not None:
                raise ValueError(f"{path}: {name} holds NaN or inf; nothing was written")
            _write_packed(file, name, array)
        for name in EPISODE_DATASETS:
            if (values := getattr(trajectories, name)) is not None:
                _write_packed(file, f"{STEP_GROUP}/{name}", np.repeat(values, trajectories.lengths))
        file.attrs.update(attrs or {})
        file.attrs[_DIGEST] = _arrays_digest(file)


def _write_packed(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    rows = max(1, min(len(array), _CHUNK_BYTES // (array.itemsize * int(np.prod(array.shape[1:])))))
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
    file.create_dataset(name, data=array, chunks=(rows, *array.shape[1:]), **packed)


def _arrays_digest(file: h5py.File) -> str:
    """The SHA-256 of all arrays of a file and of its other attributes, block by block."""
    hasher = hashlib.sha256(repr(sorted((name, str(v)) for name, v in file.attrs.items() if name != _DIGEST)).encode())
    for name in (*STEP_DATASETS, *_EXTRAS):
        if name not in file:
            continue
        dataset = file[name]
        hasher.update(f"{name} {dataset.shape} {dataset.dtype.str}".encode())
        rows = max(1, _BLOCK_BYTES // max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))))
        for low in range(0, dataset.shape[0], rows):
            hasher.update(np.ascontiguousarray(dataset[low : low + rows]).tobytes())
    return hasher.hexdigest()


def read_dsrl(path: str | Path, task: str | Task | None = None, episodes: ArrayLike | None = None) -> Trajectories:
    """Reads a DSRL file, or only the episodes with these numbers, in this order.

    Takes the memory of the episodes returned and some megabytes.

    Raises:
        TrajectoryFileError: the file is missing, damaged, or breaks the schema (with `task`: its sizes too).
        IndexError: `episodes` is empty or has a number that the file does not have.
    """
    wanted = None if episodes is None else np.asarray(episodes, dtype=np.int64)
    with _open_hdf5(path) as file:
        data = _DsrlFile(path, file, task)
        if wanted is None:
            return data.read_episodes(np.arange(len(data.summary)))
        ordered, order = np.unique(wanted, return_inverse=True)
        if len(ordered) == 0 or ordered[0] < 0 or ordered[-1] >= len(data.summary):
            raise IndexError(f"{path}: episodes must be numbers from 0 to {len(data.summary) - 1}, at least one")
        found = data.read_episodes(ordered)
    return found if np.array_equal(ordered, wanted) else found.select(order)


def read_summary(path: str | Path, task: str | Task | None = None) -> EpisodeSummary:
    """Returns, costs and boundaries of all episodes of a DSRL file; observations and actions are not read.

    Raises:
        TrajectoryFileError: as `read_dsrl`, but the values of observations and actions are not looked at.
    """
    with _open_hdf5(path) as file:
        return _DsrlFile(path, file, task).summary


def check_dsrl(path: str | Path, task: str | Task | None = None) -> None:
    """Looks at every value of a DSRL file, in little memory: finite, of the checksum, successors in their places.

    Raises:
        TrajectoryFileError: as `read_dsrl`.
    """
    with _open_hdf5(path) as file:
        data = _DsrlFile(path, file, task)
        for name in MATRICES:
            for _ in data.blocks(name, np.arange(data.steps)):
                pass
        data.tell_clipped()
        data.check_successors()
        said = file.attrs.get(_DIGEST)
        if said is None and "recipe" in file.attrs:
            _log.warning("%s: has no checksum (an older version wrote it); its content is not verified", path)
        elif said is not None and said != _arrays_digest(file):
            raise TrajectoryFileError(f"{path}: its arrays are not what was written (checksum); it was altered")


def read_attrs(path: str | Path) -> dict[str, str | int | float]:
    """The attributes that `write_dsrl` stored; a published file has none.

    Raises:
        TrajectoryFileError: the file is missing or damaged.
    """
    with _open_hdf5(path) as file:
        found = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
        return {name: value for name, value in found.items() if name != _DIGEST}


@contextmanager
def _open_hdf5(path: str | Path) -> Iterator[h5py.File]:
    """Opens a file for reading and turns every failure of HDF5 into one error."""
    if Path(path).is_dir():
        raise TrajectoryFileError(f"{path}: is a folder; a DSRL HDF5 file is needed")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError:
        raise TrajectoryFileError(f"{path}: there is no such file; a DSRL HDF5 file is needed") from None
    except TrajectoryFileError:
        raise
    except PermissionError as error:
        raise TrajectoryFileError(f"{path}: may not be read ({error.strerror}); change its permissions") from error
    except BlockingIOError as error:
        raise _locked(path) from error
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:  # of damaged bytes
        if getattr(error, "errno", None) in (errno.EAGAIN, errno.EACCES):
            raise _locked(path) from error
        raise TrajectoryFileError(
            f"{path}: not a whole HDF5 file ({error}); it was cut off or damaged, get it again"
        ) from error


def _locked(path: str | Path) -> TrajectoryFileError:
    return TrajectoryFileError(
        f"{path}: is locked by a process that writes it; wait until it ends (on a file system without locks: "
        "HDF5_USE_FILE_LOCKING=FALSE)"
    )


class _DsrlFile:
    """An open file; schema, numbers per step and episodes are read and checked at once, matrices on demand.

    Every method raises TrajectoryFileError.
    """

    def __init__(self, path: str | Path, file: h5py.File, task: str | Task | None) -> None:
        self._path, self._file, self._clipped = path, file, 0
        for name in (*STEP_DATASETS, EPISODE_GROUP, STEP_GROUP, *_EXTRAS):
            self._check_link(name)
        missing = [name for name in STEP_DATASETS if not isinstance(file.get(name), h5py.Dataset)]
        if missing:
            raise TrajectoryFileError(
                f"{path}: missing dataset(s) {', '.join(missing)}; a DSRL file has {', '.join(STEP_DATASETS)}, "
                f"this one has {', '.join(file) or 'nothing'}"
            )
        self.steps: int = (file["observations"].shape or (0,))[0]
        self._check_shapes(None if task is None else get_task(task))
        for name in STEP_DATASETS:
            self._check_storage(name)
        self._flags = {name: self._read_flags(name) for name in FLAGS}
        self._ends = self._find_ends()
        self._numbers = {name: self._read_numbers(name) for name in NUMBERS}
        arrays: dict[str, Any] = {**self._numbers, **self._flags, **self._read_episode_datasets()}
        self.summary = EpisodeSummary.from_steps(**arrays)
        self._check_lengths(None if task is None else get_task(task))
        self._check_costs()

    def check_successors(self) -> None:
        """Refuses flags that stand beside the ends, where a step's successor is not the next observation."""
        check = SuccessorCheck()
        size = max(1, _BLOCK_BYTES // (4 * self._file["observations"].shape[1]))
        is_end = self._flags["terminals"] | self._flags["timeouts"]
        for low in range(0, self.steps - 1, size):
            high = min(low + size, self.steps - 1)
            successors = _as_float32(self._file["next_observations"][low:high])
            check.add(successors, _as_float32(self._file["observations"][low + 1 : high + 1]), is_end[low:high])
        try:
            doubts = check.doubts()
        except ImpossibleDataError as error:
            raise self._error("next_observations", str(error)) from None
        for doubt in doubts:
            _log.warning("%s: dataset 'next_observations': %s", self._path, doubt)

    def read_episodes(self, episodes: NDArray[np.int64]) -> Trajectories:
        """The episodes with these ascending numbers."""
        rows = step_rows(self.summary.starts[episodes], self.summary.lengths[episodes])
        steps: dict[str, Any] = {name: values[rows] for name, values in {**self._numbers, **self._flags}.items()}
        for name in MATRICES:
            steps[name] = np.empty((len(rows), self._file[name].shape[1]), dtype=np.float32)
            for places, values in self.blocks(name, rows):
                steps[name][places] = values
        self.tell_clipped()
        return Trajectories(**steps, **_episode_fields(self.summary, episodes))

    def blocks(self, name: str, rows: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (places in `rows`, values [n, dim]) for ascending `rows`; each chunk of the file is unpacked once."""
        dataset = self._file[name]
        unit = dataset.chunks[0] if dataset.chunks else 1
        size = unit * max(1, _BLOCK_BYTES // (unit * dataset.shape[1] * dataset.dtype.itemsize))
        for low in range(0, self.steps, size):
            first, last = np.searchsorted(rows, [low, low + size])
            if first < last:
                values = _as_float32(dataset[low : low + size][rows[first:last] - low])
                self._check_finite(name, values, rows[first:last])
                if name == "actions":
                    values = self._clip(values)
                yield slice(first, last), values

    def _check_link(self, name: str) -> None:
        """Only what lies in the file itself is read; asked before the link is followed."""
        parent, _, last = name.rpartition("/")
        group = self._file.get(parent) if parent else self._file
        link = group.get(last, getlink=True) if isinstance(group, h5py.Group) else None
        if link is not None and not isinstance(link, h5py.HardLink):
            raise self._error(name, "is a link to elsewhere; data sets have to lie in the file itself")

    def _check_storage(self, name: str) -> None:
        if problem := storage_problem(self._file[name]):
            raise self._error(name, problem)

    def _check_lengths(self, task: Task | None) -> None:
        longest = int(self.summary.lengths.max())
        if task is not None and longest > task.horizon:
            raise self._error(
                "timeouts",
                f"lets episode {self.summary.lengths.argmax()} have {longest} steps; those of {task.name} have at most "
                f"{task.horizon}: ends are missing",
            )

    def _check_costs(self) -> None:
        try:
            doubt = cost_doubt(self._numbers["costs"], self.summary.starts)
        except ImpossibleDataError as error:
            raise self._error("costs", str(error)) from None
        if doubt:
            _log.warning("%s: dataset 'costs' %s", self._path, doubt)

    def _check_shapes(self, task: Task | None) -> None:
        if self.steps > _MAX_STEPS:
            raise self._error("observations", f"has {self.steps} rows; at most {_MAX_STEPS} are read")
        if self.steps == 0:
            raise self._error("observations", "is empty; at least one step is needed")
        for name in STEP_DATASETS:
            dataset, right = self._file[name], self._right_shape(name, task)
            if dataset.dtype.kind not in "fiub":
                raise self._error(name, f"holds {dataset.dtype}, not numbers")
            if dataset.shape != right and not (name not in MATRICES and dataset.shape == (*right, 1)):
                for_task = f" as {task.name} needs" if task and name in MATRICES else ""
                raise self._error(name, f"has shape {dataset.shape}, not {right}{for_task}")

    def _right_shape(self, name: str, task: Task | None) -> tuple[int, ...]:
        if name not in MATRICES:
            return (self.steps,)
        if task is not None:
            return (self.steps, task.act_dim if name == "actions" else task.obs_dim)
        shape = self._file["actions" if name == "actions" else "observations"].shape or ()
        return (self.steps, *(shape[1:2] or (1,)))

    def _find_ends(self) -> NDArray[np.int64]:
        ends = np.flatnonzero(self._flags["terminals"] | self._flags["timeouts"])
        if len(ends) == 0:
            raise self._error("timeouts", "marks no episode end, nor does 'terminals'; the last step of each needs a 1")
        if ends[-1] != self.steps - 1:
            raise self._error(
                "timeouts",
                f"marks no end of the last episode (number {len(ends)}, rows {ends[-1] + 1} to {self.steps - 1}), nor "
                "does 'terminals': the data was cut off; leave these rows out, or set timeouts to 1 in the last one",
            )
        return ends

    def _read_flags(self, name: str) -> NDArray[np.bool_]:
        values = self._file[name][()].reshape(-1)
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if len(wrong):
            raise self._error(name, f"has {values[wrong[0]]} in row {wrong[0]}; every value must be 0 or 1")
        return values.astype(bool)

    def _read_numbers(self, name: str) -> NDArray[np.float32]:
        values = _as_float32(self._file[name][()].reshape(-1))
        self._check_finite(name, values, np.arange(self.steps))
        return values

    def _read_episode_datasets(self) -> dict[str, NDArray[np.int64]]:
        arrays = {}
        for name in EPISODE_DATASETS:
            if f"{STEP_GROUP}/{name}" in self._file:
                arrays[name] = self._read_per_step(f"{STEP_GROUP}/{name}")
            elif f"{EPISODE_GROUP}/{name}" in self._file:
                arrays[name] = self._read_integers(f"{EPISODE_GROUP}/{name}", len(self._ends), "episode")
        return arrays

    def _read_per_step(self, key: str) -> NDArray[np.int64]:
        """One value per episode, of those that every step of it has."""
        values = self._read_integers(key, self.steps, "step")
        starts = np.concatenate([[0], self._ends[:-1] + 1])
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        if (low != high).any():
            odd = int(np.argmax(low != high))
            raise self._error(key, f"has {low[odd]} and {high[odd]} in episode {odd}; all its steps need the same")
        return low

    def _read_integers(self, key: str, count: int, what: str) -> NDArray[np.int64]:
        dataset = self._file[key]
        if not isinstance(dataset, h5py.Dataset) or dataset.shape != (count,) or dataset.dtype.kind not in "iu":
            kind = f"{dataset.dtype} of shape {dataset.shape}" if isinstance(dataset, h5py.Dataset) else "no data set"
            raise self._error(key, f"is {kind}, not integers ({count},), one per {what}")
        self._check_storage(key)
        return dataset[()].astype(np.int64)

    def _clip(self, actions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Published Bullet files have actions outside of [-1, 1], which the simulator clipped."""
        self._clipped += int((np.abs(actions) > 1).any(axis=1).sum())
        return np.clip(actions, -1.0, 1.0)

    def tell_clipped(self) -> None:
        """Says how many of the steps read so far had actions out of range."""
        if self._clipped:
            _log.warning(
                "%s: the actions of %d steps are outside of [-1, 1] and are clipped", self._path, self._clipped
            )

    def _check_finite(self, name: str, values: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Values [N] or [N, dim] are those of `rows` [N] in the file."""
        place = _first_not_finite(values)
        if place is None:
            return
        row, column = rows[place[0]], f", column {place[1]}" if values.ndim == 2 else ""
        where = f"row {row}{column} (episode {np.searchsorted(self._ends, row)})"
        raise self._error(name, f"has {values[place]} in {where}; every value must be a finite float32")

    def _error(self, name: str, problem: str) -> TrajectoryFileError:
        return TrajectoryFileError(f"{self._path}: dataset {name!r} {problem}")


def _first_not_finite(values: NDArray[Any]) -> tuple[int, ...] | None:
    """The index of the first NaN or infinity; None where there is none."""
    finite = np.isfinite(values)
    return None if finite.all() else tuple(np.argwhere(~finite)[0])


def _as_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a too large float64 becomes inf, which is refused
        return values.astype(np.float32, copy=False)

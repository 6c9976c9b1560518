"""A running sweep's sign of life in its results folder, for `prefine status` on another machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType

from prefine_ray.core.checked_json import parse_json
from prefine_ray.core.digests import digest
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import read_bytes, write_text
from prefine_ray.results.folder import StorageError, storage_message, storage_problem
from prefine_ray.results.paths import ResultsPaths

BEAT_S = 5.0
PHASES = ("preparing", "running", "finished", "stopped", "lost")  # lost: Ray's head node was
UNREADABLE = "unreadable"
_MAX_BYTES = 2**24
_DIGEST = "digest"  # the key of the hash of all others
LOST_S = 60.0  # without a beat for so long, the driver is gone (or cut off)


@dataclass(frozen=True)
class RunningPack:
    """A pack that trains or is evaluated now."""

    name: str
    task: str
    label: str
    cells: int
    started: float  # Unix time
    failures: int  # so far


@dataclass
class SweepState:
    """The state that the driver of a sweep reports."""

    host: str
    pid: int
    started: float  # Unix time of the run, not of the sweep's first run
    updated: float
    phase: str  # one of PHASES, or UNREADABLE
    running: list[RunningPack] = field(default_factory=list)
    problem: str = ""  # what ended the run with an error; of the file, where it is UNREADABLE

    @property
    def alive(self) -> bool:
        """Whether the driver was there a moment ago."""
        return self.phase in ("preparing", "running") and time.time() - self.updated < LOST_S


def read_state(root: Path) -> SweepState | None:
    """The latest state in a results folder, if there is one; one that cannot be read has the phase UNREADABLE."""
    path = ResultsPaths(root).state_path
    if not path.exists():
        return None
    try:
        content = parse_json(read_bytes(path, _MAX_BYTES))
        said = content.pop(_DIGEST, None)  # absent in files of earlier versions
        if said is not None and said != digest(content):
            raise ValueError("is not what was written (checksum); it was altered")
        state = SweepState(**{**content, "running": [RunningPack(**pack) for pack in content["running"]]})
        _check(state)
        return state
    except (PrefineError, ValueError, TypeError, KeyError, AttributeError) as error:
        problem = str(error) if str(path) in str(error) else f"{path}: {error}"
        return SweepState("", 0, 0.0, 0.0, UNREADABLE, problem=problem)


def _check(state: SweepState) -> None:
    """Raises ValueError where a value is of another type, or a time is one that no clock has shown yet."""
    packs = [(pack.name, pack.task, pack.label) for pack in state.running]
    numbers = [number for pack in state.running for number in (pack.cells, pack.failures)]
    times = [state.started, state.updated, *(pack.started for pack in state.running)]
    if not all(
        isinstance(text, str) for text in (state.host, state.phase, state.problem, *(t for pack in packs for t in pack))
    ):
        raise ValueError("holds a name that is no text")
    if not all(type(number) is int and number >= 0 for number in (state.pid, *numbers)):
        raise ValueError("holds a count that is no whole number")
    if not all(isinstance(moment, int | float) and not isinstance(moment, bool) for moment in times):
        raise ValueError("holds a time that is no number")
    if state.phase not in PHASES:
        raise ValueError(f"phase {state.phase!r} is none of {', '.join(PHASES)}")
    if max(times) > time.time() + LOST_S:
        raise ValueError("holds a time in the future; the clocks of the machines differ, or it was altered")


def mark(root: Path, phase: str) -> None:
    """Changes the phase in a results folder, for a run that ends without leaving its `Heartbeat`."""
    state = read_state(root)
    if state is None or state.phase == UNREADABLE:
        return
    state.phase, state.running, state.updated = phase, [], time.time()
    with suppress(OSError):
        _write_state(root, state)


class Heartbeat:
    """Writes the state every few seconds from a thread of its own; ends the process's work when the disk is full.

    A full or read-only disk interrupts the main thread as Ctrl-C does; leaving the `with` block raises StorageError.
    """

    def __init__(self, root: Path):
        now = time.time()
        self._root, self._error = root, ""
        self._state = SweepState(socket.gethostname(), os.getpid(), now, now, "preparing")
        self._first_starts: dict[str, float] = {}  # Unix time, by pack
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    @property
    def error(self) -> str:
        """Why the sweep has to stop, or nothing."""
        return self._error

    def show(self, phase: str) -> None:
        """Changes what the next beat says."""
        self._state.phase = phase

    def begin(self, pack: RunningPack) -> None:
        """A pack runs; one that was lost and runs again counts from its first start."""
        first = self._first_starts.setdefault(pack.name, pack.started)
        self._state.phase = "running"
        self._state.running = [*self._others(pack.name), replace(pack, started=first)]

    def end(self, pack: str) -> None:
        """A pack, by its name, runs no longer."""
        self._state.running = self._others(pack)

    def _others(self, pack: str) -> list[RunningPack]:
        return [running for running in self._state.running if running.name != pack]

    def stop_sweep(self, error: str) -> None:
        """Interrupts the sweep for this reason."""
        if not self._error:
            self._error = error
            if not self._ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    def __enter__(self) -> Heartbeat:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._state.running = []
        self._state.problem = str(error) if isinstance(error, PrefineError) else ""
        self._state.phase = "stopped" if kind or self._error or self._state.phase == "stopped" else "finished"
        self._write()
        if self._error:
            raise StorageError(self._error) from error

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._write()

    def _write(self) -> None:
        self._state.updated = time.time()
        try:
            _write_state(self._root, self._state)
        except OSError as error:
            if problem := storage_problem(error):
                self.stop_sweep(storage_message(self._root, problem))


def _write_state(root: Path, state: SweepState) -> None:
    content = asdict(state)
    text = json.dumps({**content, _DIGEST: digest(content)}, indent=1)
    write_text(ResultsPaths(root).state_path, text)

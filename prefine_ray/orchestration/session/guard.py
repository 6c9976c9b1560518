"""Ends of a run that are not its own: a signal, Ray's head node lost, the disk of Ray's folder full."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

import ray
from ray._common.network_utils import parse_address

from prefine_ray.core.errors import INTERRUPTED, TERMINATED, PrefineError
from prefine_ray.orchestration.session.folder import LEAST_FREE, session_folder
from prefine_ray.results.folder import storage_message, storage_problem
from prefine_ray.results.heartbeat import mark

FAILED = 2
# From SIGTERM to SIGKILL SLURM and Kubernetes leave 30 s by default. Where Ray was sent the signal too, nothing that
# asks Ray for something ends: then the process ends as it is, since results are whole on disk at every moment.
GRACE_S = 20.0
HEAD_LOST_S = 40.0  # without an answer for so long, the head node is gone; Ray itself would abort the process at 60 s
_LOOK_S = 2.0
_CONNECT_S = 5.0


class Guard:
    """Turns SIGTERM into Ctrl-C, and ends the run with one line where Ray cannot go on.

    While it is entered, SIGTERM interrupts the main thread as Ctrl-C does; `status` is then 143 instead of 130. A run
    that does not end by itself within GRACE_S is ended: the state in the results folder is written, and `resume` is
    printed.
    """

    def __init__(self, root: Path, resume: str):
        """Changes nothing yet.

        Args:
            root: the results folder.
            resume: a line with the command that resumes the run.
        """
        self.status = INTERRUPTED
        self.reason = ""  # why the run was ended; empty where the user did
        self._root, self._resume = root, resume
        self._address: tuple[str, int] | None = None  # of the head node
        self._folder = Path()  # of Ray, on this machine
        self._left = threading.Event()
        self._handlers: dict[int, Callable | int | None] = {}

    def __enter__(self) -> Guard:
        self._handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        if self._handlers[signal.SIGINT] is signal.SIG_IGN:  # as in the background of a script
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._address is not None and not isinstance(error, PrefineError) and (error or self.status != INTERRUPTED):
            self._end_where_ray_failed(error)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def watch_ray(self) -> None:
        """Begins to look after the Ray that was joined or started, which has set a handler of its own for SIGTERM."""
        signal.signal(signal.SIGTERM, self._terminate)
        if ray._private.worker._global_node is None:
            return  # joined through Ray's client
        host, port = parse_address(ray.get_runtime_context().gcs_address)
        self._address, self._folder = (host, int(port)), session_folder()
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def say_goodbye(self, text: str) -> int:
        """Prints why the run ended, by default `text`, and how to resume it; the exit status."""
        print(f"{self.reason or text}\n{self._resume}", flush=True)
        return self.status

    # ---------------------------------------------------------------------- in the main thread

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        if self.status != TERMINATED:
            self._interrupt("Interrupted.", TERMINATED)

    def _end_where_ray_failed(self, error: BaseException | None) -> None:
        """Ends a process whose Ray is gone or cannot write: an error is only what follows, and leaving Ray may hang."""
        if isinstance(error, Exception) and (problem := folder_problem(self._folder)):
            self._end(storage_message(self._root, problem, self._folder), "stopped", FAILED)
        if self._head_answers() and not self.reason:
            return
        if self.status == INTERRUPTED:
            self._end(self._lost_text(), "lost", FAILED)
        if error:
            self._end(self.reason or "Interrupted.", "stopped", self.status)
        sys.stdout.flush()
        os._exit(self.status)

    # ---------------------------------------------------------------------- in any thread

    def _interrupt(self, text: str, status: int) -> None:
        """Ctrl-C, of which Tune makes a stop of its own; after GRACE_S the end."""
        self.status = status
        timer = threading.Timer(GRACE_S, self._end_late, (text,))
        timer.daemon = True
        timer.start()
        os.kill(os.getpid(), signal.SIGINT)

    def _end_late(self, text: str) -> None:
        if not self._left.is_set():
            self._end(text, "stopped", self.status)

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self._left.wait(_LOOK_S):
            if self._head_answers():
                answered = time.monotonic()
            elif time.monotonic() - answered > HEAD_LOST_S:
                self._end(self._lost_text(), "lost", FAILED)
            if not self.reason and (problem := folder_problem(self._folder)):
                self.reason = storage_message(self._root, problem, self._folder)
                self._interrupt(self.reason, FAILED)

    def _head_answers(self) -> bool:
        assert self._address is not None
        try:
            socket.create_connection(self._address, _CONNECT_S).close()
        except OSError:
            return False
        return True

    def _lost_text(self) -> str:
        assert self._address is not None
        return f"Ray's head node at {self._address[0]}:{self._address[1]} is gone; finished cells are in {self._root}."

    def _end(self, text: str, phase: str, status: int) -> None:
        """Ends the process at once; every file in the results folder is whole."""
        mark(self._root, phase)
        print(f"\n{text}\n{self._resume}", flush=True)
        sys.stderr.flush()
        os._exit(status)


def folder_problem(folder: Path) -> str:
    """Why Ray cannot write into its folder on this machine any more; "" where it can."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return storage_problem(error)
    blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return "" if blocks * found.f_frsize >= LEAST_FREE else os.strerror(errno.ENOSPC)

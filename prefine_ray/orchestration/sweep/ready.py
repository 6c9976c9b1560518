"""Tasks that are made ready in a thread of the driver, cheap ones first, while cells of earlier ones are trained."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from prefine_ray.core.errors import PrefineError

_LEAVE_S = 3.0  # for the thread to end; it is a daemon


class ReadyTasks:
    """Makes tasks ready in a thread while it is entered; `names` grows.

    A task that cannot be used stops none of the others; `raise_error` tells of the first one.
    """

    def __init__(self, tasks: Sequence[str], make_ready: Callable[[str], None], stopped: threading.Event):
        """Starts nothing yet.

        Args:
            tasks: in the order in which they are made ready.
            make_ready: makes one ready; runs in the thread.
            stopped: is set when the thread has to end.
        """
        self.names: list[str] = []
        self.errors: list[Exception] = []
        self._tasks, self._make_ready, self._stopped = tasks, make_ready, stopped
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="ready tasks", daemon=True)

    def __enter__(self) -> ReadyTasks:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_LEAVE_S)

    def wait(self, seen: int) -> bool:
        """Waits until more than `seen` tasks are ready; False where there will be no more."""
        with self._changed:
            while len(self.names) <= seen and self._thread.is_alive():
                self._changed.wait(1.0)
        return len(self.names) > seen

    def raise_error(self) -> None:
        """Raises the first error of a task that could not be made ready, if there is one."""
        for error in self.errors:
            raise error

    def _run(self) -> None:
        for task in self._tasks:
            try:
                self._make_ready(task)
            except Exception as error:
                if self._stopped.is_set():
                    return
                self.errors.append(error)
                if not isinstance(error, PrefineError):  # of Ray or the disk: the next one would have it, too
                    return
            else:
                with self._changed:
                    self.names.append(task)
                    self._changed.notify()

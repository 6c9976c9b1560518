"""Which packs Ray Tune runs: those of the tasks that are ready, while more become ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from prefine_ray.experiment.cells import Pack
from prefine_ray.experiment.replicates import TaskInputs


class ReadyPacks(Searcher):
    """Hands out packs. A run of Tune ends when none is left or in work, though further tasks may be made ready.

    Tune would wait for these without listening to Ctrl-C.
    """

    def __init__(self, newly_ready: Callable[[], list[Pack]], inputs: Mapping[str, TaskInputs]):
        """Suggests nothing yet.

        Args:
            newly_ready: gives the unfinished packs of the tasks that have become ready since it was last called.
            inputs: by task; those of further tasks are added meanwhile.
        """
        super().__init__()
        self._newly_ready, self._inputs = newly_ready, inputs
        self._waiting: deque[Pack] = deque()
        self._running: set[str] = set()  # Tune's names of trials

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps it for a restore, and a resumed sweep looks at what is on disk."""
        return {}

    @property
    def drained(self) -> bool:
        """Whether none is left or in work."""
        return not self._waiting and not self._running

    def any_waiting(self) -> bool:
        """Whether there is a pack to run now."""
        self._waiting.extend(self._newly_ready())
        return bool(self._waiting)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The config of the next trial; None while the last ones run; FINISHED where there is nothing to do."""
        if self.any_waiting():
            self._running.add(trial_id)
            pack = self._waiting.popleft()
            return {"pack": pack, "inputs": self._inputs.get(pack.task)}
        return Searcher.FINISHED if self.drained else None  # type: ignore[return-value]  # as Tune documents it

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The trial no longer runs."""
        self._running.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing, as above."""

    def restore(self, checkpoint_path: str) -> None:
        """Reads nothing."""

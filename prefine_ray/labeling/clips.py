"""The clips that raters see: replays of stored episodes, drawn once and kept, or the user's own videos."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from prefine_ray.core.digests import digest
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.provenance import physics
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.rollouts.replay import replay
from prefine_ray.rollouts.video import write_frames
from prefine_ray.tasks.spec import Task

KINDS = {".mp4": "video/mp4", ".webm": "video/webm"}  # what every browser plays, and can play faster
_NUMBER = re.compile(r"(?:^|[^0-9])([0-9]{1,9})$")


class ClipError(PrefineError, ValueError):
    """There is no clip of a trajectory; the message says why."""


class Clips(Protocol):
    """A video file for each trajectory."""

    def file(self, trajectory: int) -> Path:
        """The file of one trajectory, made first where need be. Raises ClipError."""

    def prepare(self, trajectories: Sequence[int]) -> None:
        """Says which are wanted soon."""

    def close(self) -> None:
        """Frees what is held."""


class ReplayedClips:
    """Clips drawn by replaying the stored episodes, one at a time, beside whatever else runs.

    Args:
        task: the task.
        episode: gives one episode by its number.
        folder: where they are kept.
        most_frames: of one clip.
        threshold: None for pictures without a word; else return and cost stand in them.
    """

    def __init__(
        self,
        task: Task,
        episode: Callable[[int], Trajectories],
        folder: Path,
        most_frames: int,
        threshold: float | None = None,
    ):
        self._task, self._episode, self._folder = task, episode, folder
        self._most_frames, self._threshold = most_frames, threshold
        self._worker = ThreadPoolExecutor(1, "clips")  # one thread: a GL context belongs to the one that made it
        self._asked: dict[int, Future[Path]] = {}

    def file(self, trajectory: int) -> Path:
        """The file of one trajectory.

        Raises:
            ReplayError: the episode cannot be replayed.
            RenderingUnavailableError: there is no GL backend.
        """
        return self._future(trajectory).result()

    def prepare(self, trajectories: Sequence[int]) -> None:
        """Draws these next."""
        for trajectory in trajectories:
            self._future(trajectory)

    def close(self) -> None:
        """Drops what is not drawn yet."""
        self._worker.shutdown(cancel_futures=True)

    def _future(self, trajectory: int) -> Future[Path]:
        known = self._asked.get(trajectory)
        if known is None or (known.done() and known.exception() is not None):
            self._asked[trajectory] = known = self._worker.submit(self._drawn, trajectory)
        return known

    def _drawn(self, trajectory: int) -> Path:
        episode = self._episode(trajectory)
        name = digest(
            {
                "task": self._task.name,
                "physics": physics(self._task.suite),
                "seed": None if episode.seeds is None else int(episode.seeds[0]),
                "actions": digest(np.ascontiguousarray(episode.actions).tobytes().hex()),
                "most_frames": self._most_frames,
                "threshold": self._threshold,
            }
        )
        path = self._folder / f"{trajectory}-{name}.mp4"
        if path.exists():
            return path
        return write_frames(path, replay(self._task, episode, self._most_frames, self._threshold))


class OwnVideos:
    """The user's videos: the number at the end of a file's name is the trajectory's, as in `episode-12.mp4`.

    Raises:
        ClipError: no folder, no video in it, two of one trajectory, or of one that the data do not have.
    """

    def __init__(self, folder: Path, num_episodes: int):
        if not folder.is_dir():
            raise ClipError(f"{folder}: there is no such folder of videos")
        self._files: dict[int, Path] = {}
        for path in sorted(folder.iterdir()):
            found = _NUMBER.search(path.stem) if path.suffix.lower() in KINDS and path.is_file() else None
            if found is None:
                continue
            number = int(found[1])
            if number >= num_episodes:
                raise ClipError(f"{path}: the data have trajectories 0 to {num_episodes - 1}")
            if number in self._files:
                raise ClipError(f"{path}: {self._files[number].name} is of trajectory {number}, too; leave one of them")
            self._files[number] = path
        if not self._files:
            raise ClipError(f"{folder}: no video; they end in {' or '.join(KINDS)}, named like episode-12.mp4")
        self._folder = folder

    @property
    def trajectories(self) -> list[int]:
        """Those of which there is a video, ascending."""
        return sorted(self._files)

    def file(self, trajectory: int) -> Path:
        """The file of one trajectory.

        Raises:
            ClipError: there is none.
        """
        if trajectory not in self._files:
            raise ClipError(f"{self._folder}: no video of trajectory {trajectory}")
        return self._files[trajectory]

    def prepare(self, trajectories: Sequence[int]) -> None:
        """Nothing: they are there."""

    def close(self) -> None:
        """Nothing is held."""

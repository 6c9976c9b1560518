"""Simulated raters and their answers, without a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefine_ray.labeling.answers import Answer
from prefine_ray.labeling.questions import Question
from prefine_ray.labeling.session import Session, SessionSettings


class NoClips:
    """Clips of a test that looks at none."""

    def file(self, trajectory: int) -> Path:
        """Never asked for."""
        raise AssertionError(trajectory)

    def prepare(self, trajectories: Sequence[int]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def settings(kind: str = "pairs", **changes) -> SessionSettings:
    """Of a short session."""
    return SessionSettings(**{"kind": kind, "task": "BallRun", "data": "d", "seed": 0, "count": 12, **changes})


def session(folder: Path, kind: str = "pairs", episodes: int = 10, table=None, **changes) -> Session:
    """A session about as many trajectories, without clips."""
    return Session(folder, settings(kind, **changes), range(episodes), NoClips(), table)


def said(rater: str, left: int, right: int | None, answer: str) -> Answer:
    """One answer."""
    return Answer(rater, "2026-01-01T00:00:00+00:00", Question(left, right), answer)


def by_number(state: dict) -> str:
    """What a rater answers to whom a lower number is the safer trajectory, and below 5 safe."""
    left, *right = state["trajectories"]
    if not right:
        return "safe" if left < 5 else "unsafe"
    return "left" if left < right[0] else "right"


def answer_all(asked: Session, rater: str, reply=by_number) -> list[tuple[int, ...]]:
    """Answers all open questions of a rater; what was shown."""
    shown, state = [], asked.state(rater)
    while state["trajectories"] is not None:
        shown.append(tuple(state["trajectories"]))
        state = asked.answer(rater, state["number"], state["trajectories"], reply(state))
    return shown

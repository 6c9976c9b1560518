"""A session of labelling: which question each rater has, what was answered, and the files that come of it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import write_text
from prefine_ray.core.seeding import numpy_generator
from prefine_ray.data.judgement_files import judgement_text
from prefine_ray.labeling.active import POOL, WARM_UP, most_telling
from prefine_ray.labeling.agreement import agreement, verdicts
from prefine_ray.labeling.answers import AnswerFile, rater_name
from prefine_ray.labeling.clips import Clips
from prefine_ray.labeling.questions import ANSWERS, Kind, Question, draw_questions, order_for, still_open
from prefine_ray.labeling.views import VIEWS, view

ANSWER_FILE, ABOUT_FILE = "answers.csv", "session.json"
_AHEAD = 3  # questions whose clips are made ready


class SessionError(PrefineError, ValueError):
    """A folder of answers cannot be used; the message says why, and what would be right."""


class StaleAnswerError(Exception):
    """The answer is not to the rater's present question: it came twice, or from a page that was left behind."""


@dataclass(frozen=True)
class SessionSettings:
    """What a session asks. The first four belong to its folder: a folder keeps the answers of one such session."""

    kind: Kind
    task: str
    data: str  # digest of the data file
    seed: int
    count: int  # different questions to each rater
    repeats: float = 0.1  # the share of them that comes twice
    choose: Literal["random", "active"] = "random"
    instructions: str = ""

    @property
    def about(self) -> dict[str, str | int]:
        """What a folder belongs to."""
        return {"kind": self.kind, "task": self.task, "data": self.data, "seed": self.seed}


class Session:
    """The state of all raters; safe to use from several threads.

    Args:
        folder: where `answers.csv` and what comes of it are kept; an earlier session of it is resumed.
        settings: what is asked.
        trajectories: those that have a clip.
        clips: of them.
        table: features of all trajectories, for the active choice (see `active.features`).
        costs: of all trajectories, where raters may see them.

    Raises:
        SessionError: the folder belongs to another session, or there are too few trajectories.
        LabelFileError, AnswerError: its `answers.csv` is damaged.
    """

    def __init__(
        self,
        folder: Path,
        settings: SessionSettings,
        trajectories: Sequence[int],
        clips: Clips,
        table: NDArray[np.float64] | None = None,
        costs: NDArray[np.float64] | None = None,
    ):
        self.folder, self.settings, self.clips = folder, settings, clips
        self._table, self._costs = table, costs
        _claim(folder, settings)
        self._file = AnswerFile(folder / ANSWER_FILE, settings.kind)
        self._questions = draw_questions(settings.kind, trajectories, settings.count, settings.seed)
        if not self._questions:
            raise SessionError(f"{len(trajectories)} trajectories are too few for a question")
        size = max(POOL, settings.count)
        self._pool = draw_questions(settings.kind, trajectories, size, settings.seed) if table is not None else []
        self._present: dict[str, Question | None] = {}
        self._lock = Lock()
        self._write_view()

    @property
    def answers(self) -> AnswerFile:
        """All answers."""
        return self._file

    @property
    def questions(self) -> list[Question]:
        """Those of all raters, each once."""
        return list(self._questions)

    @property
    def view_path(self) -> Path:
        """The labels or pairs that come of the answers."""
        return self.folder / VIEWS[self.settings.kind]

    def state(self, rater: str) -> dict[str, Any]:
        """What the page shows to a rater, as plain values.

        Raises:
            AnswerError: no name that can be kept.
        """
        with self._lock:
            return self._state(rater_name(rater))

    def answer(self, rater: str, number: int, trajectories: Sequence[int], answer: str) -> dict[str, Any]:
        """Keeps an answer and gives the new state.

        Args:
            rater: a name.
            number: of the rater's question, from 0: how many answers stand before it.
            trajectories: that were shown, from left to right.
            answer: one of `ANSWERS`.

        Raises:
            StaleAnswerError: another question is the present one.
            AnswerError: no such answer, or no name that can be kept.
        """
        with self._lock:
            name = rater_name(rater)
            present = self._question(name)
            if present is None or number != self._number(name) or present.trajectories != tuple(trajectories):
                raise StaleAnswerError
            self._file.add(name, present, answer)
            self._present.pop(name)
            self._write_view()
            return self._state(name)

    def undo(self, rater: str, number: int) -> dict[str, Any]:
        """Takes the rater's last answer back and shows its question again.

        Args:
            rater: a name.
            number: how many answers of the rater stand.

        Raises:
            StaleAnswerError: so many are not there, or none.
        """
        with self._lock:
            name = rater_name(rater)
            if number != self._number(name) or not number:
                raise StaleAnswerError
            taken = self._file.undo(name)
            assert taken is not None
            self._present[name] = taken.question
            self._write_view()
            return self._state(name)

    # ------------------------------------------------------------------ the parts

    def _number(self, rater: str) -> int:
        return len(self._file.of(rater))

    def _state(self, rater: str) -> dict[str, Any]:
        question, settings = self._question(rater), self.settings
        shared = agreement(verdicts(self._file.standing))
        order = self._order(rater)
        state: dict[str, Any] = {
            "task": settings.task,
            "kind": settings.kind,
            "answers": ANSWERS[settings.kind],
            "instructions": settings.instructions,
            "rater": rater,
            "number": self._number(rater),
            "total": max(len(order), self._number(rater)),
            "trajectories": None if question is None else question.trajectories,
            "agreement": {
                "questions": shared.questions,
                "agreed": shared.agreed,
                "alpha": None if math.isnan(shared.alpha) else round(shared.alpha, 2),
            },
            "saved": str(self.view_path),
        }
        if question is not None and self._costs is not None:
            state["costs"] = [float(self._costs[number]) for number in question.trajectories]
        if question is not None:
            self._make_ready(rater, question)
        return state

    def _question(self, rater: str) -> Question | None:
        """The rater's present question; None where all are answered."""
        if rater not in self._present:
            self._present[rater] = self._next(rater)
        return self._present[rater]

    def _order(self, rater: str) -> list[Question]:
        return order_for(self._questions, rater, self.settings.repeats, self.settings.seed)

    def _next(self, rater: str) -> Question | None:
        own, order = [answer.question for answer in self._file.of(rater)], self._order(rater)
        if self._table is None or len(own) < WARM_UP:
            return next(still_open(order, own), None)
        return self._most_telling(rater, own) if len(own) < len(order) else None

    def _most_telling(self, rater: str, own: list[Question]) -> Question | None:
        """The question that the ensemble disagrees on most; at the pace of the repeats, one of the rater's again."""
        assert self._table is not None
        generator = numpy_generator(self.settings.seed, "active", rater, len(own))
        asked = {question.key for question in own}
        candidates = [question for question in self._pool if question.key not in asked]
        once = [question for question in own if own.count(question) + own.count(question.turned()) == 1]
        if once and (not candidates or generator.random() < self.settings.repeats):
            return once[generator.integers(len(once))].turned()
        if not candidates:
            return None
        chosen = most_telling(self._table, self._file.standing, candidates, generator)
        return chosen.turned() if generator.random() < 0.5 else chosen

    def _make_ready(self, rater: str, question: Question) -> None:
        soon = [question]
        if self._table is None:
            own = [answer.question for answer in self._file.of(rater)]
            soon += islice(still_open(self._order(rater), own), _AHEAD)
        self.clips.prepare([number for one in soon for number in one.trajectories])

    def _write_view(self) -> None:
        write_text(self.view_path, view(self.settings.kind, self._file.standing))


def _claim(folder: Path, settings: SessionSettings) -> None:
    """Writes down what a new folder belongs to, and refuses one of another session."""
    path = folder / ABOUT_FILE
    if not path.exists():
        if (folder / ANSWER_FILE).exists():
            raise SessionError(f"{folder}: has answers and no {ABOUT_FILE} that says of what; name another folder")
        return write_text(path, json.dumps(settings.about, indent=2) + "\n")
    for key, value in read_about(folder).items():
        if settings.about[key] != value:
            raise SessionError(
                f"{folder}: its answers are of another session ({key} {value!r}, not {settings.about[key]!r}); "
                "name another folder with --output"
            )


def read_about(folder: Path) -> dict[str, Any]:
    """What a folder of answers belongs to: kind, task, data, seed.

    Raises:
        SessionError: it is no folder of answers.
        LabelFileError: there is no such file.
    """
    path = folder / ABOUT_FILE
    try:
        content = parse_json(judgement_text(path))
    except JSONContentError as error:
        raise SessionError(f"{path}: {error}") from error
    keys = {"kind", "task", "data", "seed"}
    if not isinstance(content, dict) or set(content) != keys or content["kind"] not in ANSWERS:
        raise SessionError(f"{path}: the keys {', '.join(sorted(keys))} are needed")
    return content

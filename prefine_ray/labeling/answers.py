"""The file of the answers: one line for each, on the disk before the next question is shown."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prefine_ray.core.errors import PrefineError
from prefine_ray.data.judgement_files import csv_rows, judgement_text
from prefine_ray.labeling.questions import ANSWERS, Kind, Question

COLUMNS = ("rater", "time", "left", "right", "answer")
UNDO = "undo"  # in the place of an answer: the rater took the last one back
_MOST_NAME = 64
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet would compute a field that begins so


class AnswerError(PrefineError, ValueError):
    """An answer or a rater's name is none that can be kept; the message says what would be right."""


@dataclass(frozen=True)
class Answer:
    """What one rater said to one question."""

    rater: str
    time: str  # UTC, ISO 8601
    question: Question
    answer: str  # of `ANSWERS`

    @property
    def better(self) -> int | None:
        """The trajectory that is the better one of a pair, None where neither is."""
        question = self.question
        return {"left": question.left, "right": question.right}.get(self.answer)


def rater_name(text: str) -> str:
    """A rater's name without the space around it.

    Raises:
        AnswerError: it is empty, longer than 64 characters, not printable, or a formula to spreadsheets.
    """
    name = text.strip()
    if not (0 < len(name) <= _MOST_NAME and name.isprintable()) or name.startswith(_FORMULA):
        raise AnswerError(
            f"rater {name[:_MOST_NAME]!r}: a name of 1 to {_MOST_NAME} printable characters is needed that does not "
            f"begin with one of {' '.join(_FORMULA)}"
        )
    return name


class AnswerFile:
    """The answers of all raters in a CSV file that only grows: taking one back adds a line, too.

    A line that was cut when the machine stopped is dropped when the file is opened again.

    Raises:
        LabelFileError: the file is none of ours.
    """

    def __init__(self, path: Path, kind: Kind):
        self.path, self._kind = path, kind
        self._standing: list[Answer] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _whole_lines(path):
            self._append(COLUMNS)
        for where, row in csv_rows(judgement_text(path), COLUMNS):
            self._take(_parsed(row, kind, f"{path}: {where}"))

    @property
    def standing(self) -> list[Answer]:
        """The answers that were not taken back, in their order."""
        return list(self._standing)

    def of(self, rater: str) -> list[Answer]:
        """Those of one rater."""
        return [answer for answer in self._standing if answer.rater == rater]

    def add(self, rater: str, question: Question, answer: str) -> Answer:
        """Keeps an answer; it is on the disk when this returns.

        Raises:
            AnswerError: no such answer, or no name that can be kept.
        """
        if answer not in ANSWERS[self._kind]:
            raise AnswerError(f"answer {answer!r}: one of {', '.join(ANSWERS[self._kind])} is needed")
        return self._keep(Answer(rater_name(rater), _now(), question, answer))

    def undo(self, rater: str) -> Answer | None:
        """Takes the rater's last answer back and returns it; None where there is none."""
        own = self.of(rater)
        if not own:
            return None
        self._keep(Answer(rater, _now(), own[-1].question, UNDO))
        return own[-1]

    def _keep(self, answer: Answer) -> Answer:
        question = answer.question
        right = "" if question.right is None else question.right
        self._append((answer.rater, answer.time, question.left, right, answer.answer))
        self._take(answer)
        return answer

    def _take(self, answer: Answer) -> None:
        if answer.answer != UNDO:
            self._standing.append(answer)
            return
        last = max((i for i, one in enumerate(self._standing) if one.rater == answer.rater), default=None)
        if last is not None:
            del self._standing[last]

    def _append(self, fields: Sequence[str | int]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(fields)
        with open(self.path, "ab") as file:
            before = file.tell()
            try:
                file.write(line.getvalue().encode())
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # a full disk, say: what follows must not be appended to half a line
                os.truncate(self.path, before)
                raise


def _parsed(row: dict[str, str], kind: Kind, where: str) -> Answer:
    left, right = row["left"], row["right"]
    numbers = [left] if kind == "clips" else [left, right]
    if not all(number.isascii() and number.isdecimal() and len(number) < 19 for number in numbers):
        raise AnswerError(f"{where}: {left!r}, {right!r}: the numbers of the trajectories of {kind} are needed")
    if row["answer"] not in (*ANSWERS[kind], UNDO):
        raise AnswerError(f"{where}: answer {row['answer']!r}: one of {', '.join(ANSWERS[kind])} is needed")
    return Answer(row["rater"], row["time"], Question(*map(int, numbers)), row["answer"])


def _whole_lines(path: Path) -> bool:
    """Drops a line that was cut at the end of the file; whether there is any line."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return whole > 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

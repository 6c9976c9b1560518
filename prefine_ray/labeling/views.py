"""What comes of the answers: the files that `preferences.labels` takes, and a report on how far to trust them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from prefine_ray.data.pairs import COLUMNS as PAIR_COLUMNS
from prefine_ray.data.pairs import Pairs
from prefine_ray.labeling.agreement import (
    Verdicts,
    agreement,
    consistency,
    cycles,
    majority,
    separate_groups,
    verdicts,
    votes,
)
from prefine_ray.labeling.answers import Answer
from prefine_ray.labeling.questions import Kind, Question

VIEWS: dict[Kind, str] = {"clips": "labels.csv", "pairs": "pairs.csv"}
_SIDES = {"safe": "preferred", "unsafe": "dispreferred"}


def view(kind: Kind, answers: Sequence[Answer]) -> str:
    """The CSV text of the labels, or of the pairs."""
    rows = _label_rows(answers) if kind == "clips" else _pair_rows(answers)
    columns = ("trajectory", "label", "rater", "time") if kind == "clips" else PAIR_COLUMNS
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _label_rows(answers: Sequence[Answer]) -> list[tuple[int | str, ...]]:
    """One line for each trajectory that most of its raters agree on."""
    last = {answer.question.key: answer.time for answer in answers}
    rows: list[tuple[int | str, ...]] = []
    for key, of_question in sorted(verdicts(answers).items()):
        if (label := majority([*votes(of_question).values()])) is not None:
            rows.append((key[0], _SIDES[label], "; ".join(sorted(of_question)), last[key]))
    return rows


def _pair_rows(answers: Sequence[Answer]) -> list[tuple[int | str, ...]]:
    """One line for each answer but skips, contradictions among them."""
    rows: list[tuple[int | str, ...]] = []
    for answer in answers:
        first, second = answer.question.left, answer.question.right
        assert second is not None
        if answer.answer != "skip":
            better, worse = (first, second) if answer.answer != "right" else (second, first)
            rows.append((better, worse, int(answer.answer == "tie"), answer.rater, answer.time))
    return rows


def answers_of(pairs: Pairs) -> list[Answer]:
    """The pairs of a file as answers, for the report; which side was which is not known any more."""
    columns = zip(pairs.better.tolist(), pairs.worse.tolist(), pairs.tie.tolist(), pairs.raters, strict=True)
    return [Answer(who or "unnamed", "", Question(b, w), "tie" if tie else "left") for b, w, tie, who in columns]


def report(kind: Kind, answers: Sequence[Answer], sides: bool = True) -> str:
    """The answers in numbers, and how far they agree, as lines of text.

    Args:
        kind: clips or pairs.
        answers: to report.
        sides: whether the answers say which one was shown on the left.
    """
    found = verdicts(answers)
    raters = list(dict.fromkeys(answer.rater for answer in answers))
    skipped = sum(answer.answer == "skip" for answer in answers)
    lines = [f"{len(answers)} answers by {len(raters)} rater(s) to {len(found)} questions, {skipped} skipped"]
    lines += _clip_lines(found) if kind == "clips" else _pair_lines(answers, sides)
    lines += [_consistency_line(found, rater) for rater in raters]
    shared = agreement(found)
    if shared.questions:
        alpha = "no variation" if math.isnan(shared.alpha) else f"Krippendorff's alpha {shared.alpha:.2f}"
        lines.append(f"raters agree on {shared.agreed} of {shared.questions} shared questions ({alpha})")
    elif len(raters) > 1:
        lines.append("no question has answers of two raters, so that their agreement is not known")
    return "\n".join(lines)


def _clip_lines(found: Verdicts) -> list[str]:
    labels = [majority([*votes(of_question).values()]) for of_question in found.values()]
    left_out = labels.count(None)
    extra = f"; {left_out} left out, since as many raters say the one as the other" if left_out else ""
    return [f"{labels.count('safe')} safe, {labels.count('unsafe')} unsafe trajectories{extra}"]


def _pair_lines(answers: Sequence[Answer], sides_known: bool) -> list[str]:
    compared = [answer for answer in answers if answer.answer != "skip"]
    decided = [answer for answer in compared if answer.better is not None]
    better = [answer.better for answer in decided if answer.better is not None]
    worse = [sum(a.question.key) - b for a, b in zip(decided, better, strict=True)]
    lines = [f"{len(decided)} pairs with a better one, {len(compared) - len(decided)} ties"]
    lefts = sum(answer.answer == "left" for answer in decided)
    if decided and sides_known:
        lines.append(f"the left one is the better in {lefts / len(decided):.0%} (sides were shuffled: 50% is expected)")
    if rings := cycles(better, worse):
        text = ", ".join(" ".join(map(str, ring)) for ring in rings[:5])
        lines.append(f"{len(rings)} cycle(s), where each is better than all others of it: trajectories {text}")
    sides = zip(*(answer.question.key for answer in compared), strict=True) if compared else ((), ())
    first, second = (list(side) for side in sides)
    if (groups := separate_groups(first, second)) > 1:
        lines.append(f"{groups} groups of trajectories have no comparison between them; more pairs would join them")
    return lines


def _consistency_line(found: Verdicts, rater: str) -> str:
    own = consistency(found, rater)
    if not own.repeated:
        return f"{rater}: no question came twice"
    return (
        f"{rater}: {own.contradictions} of {own.repeated} repeated answers differ, so about {own.error_rate:.0%} of "
        "the answers are wrong"
    )

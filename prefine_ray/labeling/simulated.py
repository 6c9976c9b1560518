"""Raters that answer by the recorded cost and err at a known rate, and the sides that come of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.seeding import numpy_generator
from prefine_ray.data.pairs import Pairs, parse_pairs, sets_of_pairs
from prefine_ray.data.preferences import PreferenceSets
from prefine_ray.labeling.active import POOL, WARM_UP, most_telling
from prefine_ray.labeling.answers import Answer
from prefine_ray.labeling.questions import Kind, Question, draw_questions
from prefine_ray.labeling.views import view

Order = Literal["random", "active"]
# How answers are used: labels of single clips; pairs as sides, by Bradley-Terry scores; or pairs as pairs.
Use = Literal["labels", "pairs_as_sides", "pairs"]
KIND_OF: dict[Use, Kind] = {"labels": "clips", "pairs_as_sides": "pairs", "pairs": "pairs"}
_WRONG = {"safe": "unsafe", "unsafe": "safe", "left": "right", "right": "left"}


@dataclass(frozen=True)
class SimulatedRater:
    """Calls a clip safe that costs at most `limit`, and of two clips the cheaper one better; equal costs are a tie.

    An answer is wrong with probability `error`, whatever was answered before: the other label, the other side, and
    instead of a tie either side. What is wrong at a low error rate is wrong at every higher one, too.
    """

    costs: NDArray[np.float64]  # [E] of all trajectories
    limit: float
    error: float
    seed: int

    def truth(self, question: Question) -> str:
        """What a rater without errors answers."""
        if question.right is None:
            return "safe" if self.costs[question.left] <= self.limit else "unsafe"
        left, right = self.costs[question.left], self.costs[question.right]
        return "tie" if left == right else "left" if left < right else "right"

    def answer(self, question: Question) -> str:
        """What this one answers; the same whenever the question comes."""
        true = self.truth(question)
        chance, side = numpy_generator(self.seed, "rater", *question.key).random(2)
        if chance >= self.error:
            return true
        return _WRONG.get(true) or ("left" if side < 0.5 else "right")


def ask(
    rater: SimulatedRater, kind: Kind, order: Order, table: NDArray[np.float64], count: int, seed: int
) -> list[Answer]:
    """The answers to `count` different questions, or to as many as there are; a larger count only appends.

    Args:
        rater: who answers.
        kind: clips or pairs.
        order: at random, or as `prefine label --choose active` asks.
        table: `active.features` of all trajectories, [E, F].
        count: how many; of pairs in the active order at most POOL.
        seed: of the questions.
    """
    drawn = draw_questions(kind, range(len(table)), max(count, POOL) if order == "random" else POOL, seed)
    answers: list[Answer] = []
    for number in range(min(count, len(drawn))):
        question = drawn[number]
        if order == "active" and number >= WARM_UP:
            asked = {answer.question.key for answer in answers}
            still_open = [one for one in drawn if one.key not in asked]
            question = most_telling(table, answers, still_open, numpy_generator(seed, "active", number))
        answers.append(Answer("simulated", "", question, rater.answer(question)))
    return answers


def agreement_with_truth(rater: SimulatedRater, answers: Sequence[Answer]) -> float:
    """The share of the answers that are right."""
    return float(np.mean([answer.answer == rater.truth(answer.question) for answer in answers]))


def sides_of(answers: Sequence[Answer], use: Use, num_episodes: int) -> PreferenceSets | None:
    """What a method is trained on; None where the answers leave a side empty.

    Of `labels` all that was called safe is preferred and all that was called unsafe dispreferred; of `pairs_as_sides`
    the best and the worst third by Bradley-Terry scores; of `pairs` the k-th of one side is better than the k-th of
    the other.
    """
    if use == "labels":
        sides = [[a.question.left for a in answers if a.answer == word] for word in ("safe", "unsafe")]
        sets = PreferenceSets(*(np.sort(np.array(side, dtype=np.int64)) for side in sides))
    else:
        pairs = parse_pairs(view("pairs", answers), num_episodes)
        sets = _of_pairs(pairs) if use == "pairs" or not len(pairs.decided()) else sets_of_pairs(pairs)
    return sets if len(sets.preferred) and len(sets.dispreferred) else None


def _of_pairs(pairs: Pairs) -> PreferenceSets:
    decided = pairs.decided()
    return PreferenceSets(decided.better, decided.worse)

"""What a rater is asked: clips or pairs of clips, in an order and with sides that a seed shuffles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from prefine_ray.core.seeding import numpy_generator

Kind = Literal["clips", "pairs"]
ANSWERS: dict[Kind, tuple[str, ...]] = {
    "clips": ("safe", "unsafe", "skip"),
    "pairs": ("left", "right", "tie", "skip"),
}


@dataclass(frozen=True)
class Question:
    """One clip, or two beside each other."""

    left: int  # the trajectory, or the one on the left
    right: int | None = None

    @property
    def key(self) -> tuple[int, ...]:
        """What is asked, whichever side is which."""
        return tuple(sorted(self.trajectories))

    @property
    def trajectories(self) -> tuple[int, ...]:
        """From left to right."""
        return (self.left,) if self.right is None else (self.left, self.right)

    def turned(self) -> Question:
        """With the sides exchanged; of one clip, itself."""
        return self if self.right is None else Question(self.right, self.left)


def draw_questions(kind: Kind, trajectories: Sequence[int], count: int, seed: int) -> list[Question]:
    """The questions of all raters: `count` different ones, or as many as there are.

    Pairs take every trajectory equally often: each round pairs up a permutation of all. A larger count only appends to
    a smaller one's.

    Args:
        kind: clips or pairs.
        trajectories: those that have a clip.
        count: how many.
        seed: of the draw.
    """
    generator = numpy_generator(seed, "questions", kind)
    if kind == "clips":
        return [Question(int(number)) for number in generator.permutation(trajectories)[:count]]
    drawn: dict[tuple[int, ...], Question] = {}
    wanted = min(count, len(trajectories) * (len(trajectories) - 1) // 2)
    while len(drawn) < wanted:
        order = [int(number) for number in generator.permutation(trajectories)]
        for left, right in zip(order[::2], order[1::2], strict=False):
            drawn.setdefault(Question(left, right).key, Question(left, right))
    return list(drawn.values())[:wanted]


def order_for(questions: list[Question], rater: str, repeats: float, seed: int) -> list[Question]:
    """The order and the sides in which one rater gets the questions.

    A share of those in the first half comes again in the second, with the sides exchanged: from these the errors of the
    rater are estimated.

    Args:
        questions: those of all raters.
        rater: a name.
        repeats: the share of the questions that come twice, at most a half.
        seed: of the order.
    """
    generator = numpy_generator(seed, "order", rater)
    shuffled = [questions[index] for index in generator.permutation(len(questions))]
    turns = generator.random(len(shuffled)) < 0.5
    shuffled = [one.turned() if turn else one for one, turn in zip(shuffled, turns, strict=True)]
    first, rest = shuffled[: len(shuffled) // 2], shuffled[len(shuffled) // 2 :]
    again = [one.turned() for one in first[: round(repeats * len(shuffled))]]
    later = rest + again
    return first + [later[index] for index in generator.permutation(len(later))]


def still_open(order: Iterable[Question], answered: Iterable[Question]) -> Iterator[Question]:
    """The questions of an order that no answer is for yet; one that comes twice needs two answers."""
    done = Counter(question.key for question in answered)
    for question in order:
        if done[question.key]:
            done[question.key] -= 1
        else:
            yield question

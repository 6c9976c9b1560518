"""How far judgements can be trusted: agreement of raters, errors from repeated questions, contradictions, cycles."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prefine_ray.labeling.answers import Answer

Verdicts = dict[tuple[int, ...], dict[str, list[str]]]  # question -> rater -> what was said, in order


@dataclass(frozen=True)
class Agreement:
    """Of several raters on the questions that at least two of them answered."""

    questions: int
    agreed: int  # of them, by all that answered
    alpha: float  # Krippendorff's, for nominal values: 1 is agreement, 0 that of chance; NaN without variation


@dataclass(frozen=True)
class Consistency:
    """Of one rater with themselves, on the questions that came twice or more."""

    repeated: int  # pairs of answers to the same question
    contradictions: int  # of them, those that differ

    @property
    def error_rate(self) -> float:
        """The estimated share of wrong answers, at most 0.5; NaN without repeats.

        Two answers that are each wrong with probability e differ with probability 2 e (1 - e).
        """
        if not self.repeated:
            return math.nan
        differing = min(0.5, self.contradictions / self.repeated)
        return (1 - math.sqrt(1 - 2 * differing)) / 2


def verdict(answer: Answer) -> str | None:
    """What an answer says about its question, whichever side was which; None for a skip."""
    if answer.answer == "skip":
        return None
    return answer.answer if answer.better is None else str(answer.better)


def verdicts(answers: Iterable[Answer]) -> Verdicts:
    """What was said to each question, by rater, without skips."""
    found: Verdicts = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        if (said := verdict(answer)) is not None:
            found[answer.question.key][answer.rater].append(said)
    return found


def majority(said: Sequence[str]) -> str | None:
    """The value that more than half of the votes are for, None where there is none."""
    ((value, votes), *_) = Counter(said).most_common(1)
    return value if 2 * votes > len(said) else None


def votes(of_question: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """One vote for each rater: what most of their answers say, the last one where they are equally many."""
    return {rater: majority(said) or said[-1] for rater, said in of_question.items()}


def agreement(found: Verdicts) -> Agreement:
    """Of all raters together, each with one vote to a question."""
    units = [list(votes(of_question).values()) for of_question in found.values() if len(of_question) > 1]
    return Agreement(len(units), sum(len({*unit}) == 1 for unit in units), krippendorff_alpha(units))


def consistency(found: Verdicts, rater: str) -> Consistency:
    """Of one rater with themselves."""
    again = [said for by_rater in found.values() if len(said := by_rater.get(rater, [])) > 1]
    pairs = [(one, two) for said in again for one, two in pairwise(said)]
    return Consistency(len(pairs), sum(one != two for one, two in pairs))


def krippendorff_alpha(units: Iterable[Sequence[str]]) -> float:
    """Krippendorff's alpha for nominal values; units with a single value do not count.

    Args:
        units: the values that the raters gave to each unit.

    Returns:
        At most 1; NaN where there are no two values, or all are equal.
    """
    observed, totals, pairable = 0.0, Counter[str](), 0
    for unit in units:
        if len(unit) < 2:
            continue
        counts = Counter(unit)
        observed += sum(count * (len(unit) - count) for count in counts.values()) / (len(unit) - 1)
        totals.update(counts)
        pairable += len(unit)
    expected = sum(count * (pairable - count) for count in totals.values())
    return 1 - (pairable - 1) * observed / expected if expected else math.nan


def cycles(better: Sequence[int], worse: Sequence[int]) -> list[tuple[int, ...]]:
    """Groups of trajectories that are each better than all others of the group, by a chain of answers.

    Args:
        better: the better trajectory of each answer that counts.
        worse: the other one.
    """
    names, graph = _graph(better, worse)
    if not len(names):
        return []
    _, group = connected_components(graph, connection="strong")
    groups = (tuple(int(name) for name in names[group == number]) for number in np.unique(group))
    return [members for members in groups if len(members) > 1]


def separate_groups(better: Sequence[int], worse: Sequence[int]) -> int:
    """How many groups of trajectories have no comparison between them, so that their scores hardly compare."""
    names, graph = _graph(better, worse)
    return int(connected_components(graph, directed=False)[0]) if len(names) else 0


def _graph(better: Sequence[int], worse: Sequence[int]) -> tuple[NDArray[np.int64], coo_array]:
    """The trajectories, ascending, and the answers as edges between their places."""
    names, places = np.unique(np.array([*better, *worse], dtype=np.int64), return_inverse=True)
    edges = (places[: len(better)], places[len(better) :])
    return names, coo_array((np.ones(len(better)), edges), shape=(len(names), len(names)))

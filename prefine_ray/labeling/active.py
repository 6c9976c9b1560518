"""Which question to ask next: the one that a small ensemble of models disagrees on most.

Each model is a logistic regression on features of the trajectories (no cost, no reward among them), trained on a
bootstrap sample of the answers. Where the models' probabilities differ much, an answer tells most.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from prefine_ray.data.trajectories import Trajectories
from prefine_ray.labeling.answers import Answer
from prefine_ray.labeling.questions import Question

WARM_UP = 10  # questions at random before the ensemble chooses
POOL = 500  # pairs that the ensemble chooses among, at least
_MEMBERS = 8
_NEWTON_STEPS = 8
_PRIOR = 1.0  # precision of the weights' normal prior
_TARGETS = {"safe": 1.0, "unsafe": 0.0, "left": 1.0, "right": 0.0, "tie": 0.5}


def features(trajectories: Trajectories) -> NDArray[np.float64]:
    """[E, F] standardised: means, deviations and extremes of what an episode observes and does, and its length."""
    steps = np.concatenate([trajectories.observations, trajectories.actions], axis=1, dtype=np.float64)
    starts, lengths = trajectories.starts, trajectories.lengths[:, None]
    mean, square = (np.add.reduceat(values, starts) / lengths for values in (steps, steps**2))
    extremes = [function.reduceat(steps, starts) for function in (np.minimum, np.maximum)]
    whole = np.hstack([mean, np.sqrt(np.maximum(square - mean**2, 0)), *extremes, lengths])
    spread = whole.std(axis=0)
    return (whole - whole.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)


def question_rows(table: NDArray[np.float64], questions: Sequence[Question]) -> NDArray[np.float64]:
    """[N, F]: a clip's features, or what the left one has over the right one."""
    left = table[[question.left for question in questions]]
    if not questions or questions[0].right is None:
        return np.hstack([left, np.ones((len(left), 1))])
    return left - table[[question.right for question in questions if question.right is not None]]


def disagreement(
    table: NDArray[np.float64], answers: Sequence[Answer], questions: Sequence[Question], rng: np.random.Generator
) -> NDArray[np.float64]:
    """[N]: the variance of the ensemble's probabilities for each question (safe, or the left one is better).

    Args:
        table: `features` of all trajectories, [E, F].
        answers: what was said so far; skips do not count.
        questions: those to choose from.
        rng: of the bootstrap samples.
    """
    told = [answer for answer in answers if answer.answer in _TARGETS]
    if not told:
        return np.zeros(len(questions))
    rows = question_rows(table, [answer.question for answer in told])
    targets = np.array([_TARGETS[answer.answer] for answer in told])
    asked = question_rows(table, questions)
    samples = [rng.integers(len(told), size=len(told)) for _ in range(_MEMBERS)]
    return np.var([expit(asked @ fitted(rows[sample], targets[sample])) for sample in samples], axis=0)


def most_telling(
    table: NDArray[np.float64], answers: Sequence[Answer], questions: Sequence[Question], rng: np.random.Generator
) -> Question:
    """Of at least one question the one that the ensemble disagrees on most; arguments as `disagreement`."""
    return questions[int(np.argmax(disagreement(table, answers, questions, rng)))]


def fitted(rows: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """[F] weights of a logistic regression with a normal prior, by Newton's method."""
    weights, prior = np.zeros(rows.shape[1]), _PRIOR * np.eye(rows.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = expit(rows @ weights)
        slope = rows.T @ (chance - targets) + _PRIOR * weights
        weights -= np.linalg.solve((rows.T * (chance * (1 - chance))) @ rows + prior, slope)
    return weights

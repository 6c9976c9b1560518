"""Simulated raters: what they answer, how often they err, and the sides that come of it."""

from __future__ import annotations

import numpy as np
import pytest

from prefine_ray.labeling.questions import Question, draw_questions
from prefine_ray.labeling.simulated import SimulatedRater, agreement_with_truth, ask, sides_of

COSTS = np.arange(100.0)
TABLE = np.random.default_rng(0).normal(size=(100, 4))


def rater(error: float = 0.0, seed: int = 0) -> SimulatedRater:
    """Of a hundred trajectories whose number is their cost; up to 39 they are safe."""
    return SimulatedRater(COSTS, limit=39.0, error=error, seed=seed)


def test_without_errors_the_cost_decides():
    assert [rater().answer(Question(number)) for number in (0, 39, 40)] == ["safe", "safe", "unsafe"]
    assert rater().answer(Question(3, 5)) == "left"
    assert rater().answer(Question(5, 3)) == "right"
    equal = SimulatedRater(np.zeros(2), 1.0, 0.0, 0)
    assert equal.answer(Question(0, 1)) == "tie"


@pytest.mark.parametrize("kind", ["clips", "pairs"])
@pytest.mark.parametrize("error", [0.1, 0.3])
def test_the_share_of_wrong_answers_is_the_error_rate(kind, error):
    wrong = []
    for seed in range(20):
        one = rater(error, seed)
        wrong += [one.answer(q) != one.truth(q) for q in draw_questions(kind, range(100), 100, seed)]
    assert abs(np.mean(wrong) - error) < 4 * np.sqrt(error * (1 - error) / len(wrong))


def test_an_answer_is_the_same_again_and_errors_are_among_those_of_a_worse_rater():
    questions = draw_questions("pairs", range(100), 300, 0)
    wrong = {}
    for error in (0.1, 0.3):
        one = rater(error)
        assert [one.answer(q) for q in questions] == [one.answer(q) for q in questions]
        wrong[error] = {q.key for q in questions if one.answer(q) != one.truth(q)}
    assert wrong[0.1] < wrong[0.3]


@pytest.mark.parametrize("kind", ["clips", "pairs"])
@pytest.mark.parametrize("order", ["random", "active"])
def test_more_questions_append_and_none_comes_twice(kind, order):
    few, more = (ask(rater(0.2), kind, order, TABLE, count, seed=1) for count in (12, 20))
    assert more[:12] == few
    assert len({answer.question.key for answer in more}) == 20
    assert 0.5 < agreement_with_truth(rater(0.2), more) < 1.0


def test_active_questions_differ_from_random_ones_after_the_first_ten():
    random, active = (ask(rater(), "pairs", order, TABLE, 20, seed=1) for order in ("random", "active"))
    assert random[:10] == active[:10]
    assert random[10:] != active[10:]


def test_labels_are_both_sides_pairs_keep_their_order_and_scores_make_thirds():
    clips = ask(rater(), "clips", "random", TABLE, 30, seed=0)
    labels = sides_of(clips, "labels", 100)
    assert labels.preferred.max() < 40 <= labels.dispreferred.min()
    assert len(labels.preferred) + len(labels.dispreferred) == 30
    pairs = ask(rater(), "pairs", "random", TABLE, 30, seed=0)
    direct, thirds = sides_of(pairs, "pairs", 100), sides_of(pairs, "pairs_as_sides", 100)
    assert (direct.preferred < direct.dispreferred).all()
    assert len(thirds.preferred) == len(thirds.dispreferred) == 20
    assert thirds.preferred.mean() < thirds.dispreferred.mean()


def test_answers_that_leave_a_side_empty_give_none():
    safe = [answer for answer in ask(rater(), "clips", "random", TABLE, 30, seed=0) if answer.answer == "safe"]
    assert sides_of(safe, "labels", 100) is None
    ties = ask(SimulatedRater(np.zeros(100), 1.0, 0.0, 0), "pairs", "random", TABLE, 10, seed=0)
    assert sides_of(ties, "pairs", 100) is sides_of(ties, "pairs_as_sides", 100) is None

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prefine_ray.labeling.active import disagreement, features, fitted, question_rows
from prefine_ray.labeling.questions import Question
from tests.labeling.people import said
from tests.makers import ball_run_episodes


def test_features_are_standardised_and_know_no_cost():
    data = ball_run_episodes()
    table = features(data)
    assert table.shape == (8, 4 * (data.observations.shape[1] + data.actions.shape[1]) + 1)
    assert np.abs(table.mean(axis=0)).max() < 1e-9
    np.testing.assert_array_equal(table, features(replace(data, costs=data.costs + 1, rewards=data.rewards * 2)))


def test_exchanged_sides_exchange_the_signs():
    table = np.random.default_rng(0).normal(size=(5, 3))
    one, other = (question_rows(table, [question]) for question in (Question(1, 2), Question(2, 1)))
    np.testing.assert_array_equal(one, -other)


def test_the_ensemble_is_sure_of_what_it_saw_and_disagrees_on_what_it_did_not():
    table = np.zeros((8, 2))
    table[:4, 0] = [-3, -2, 2, 3]  # the first feature decides, and was seen
    table[4:, 1] = [-3, -2, 2, 3]  # the second one was seen with both answers
    answers = [said("Ann", 3, 0, "left"), said("Ann", 2, 1, "left"), said("Ann", 0, 2, "right")] * 3
    answers += [said("Ann", 7, 4, "left"), said("Ann", 7, 4, "right"), said("Ann", 6, 5, "tie")]
    sure, unsure = disagreement(table, answers, [Question(3, 0), Question(7, 4)], np.random.default_rng(0))
    assert unsure > 10 * sure


def test_without_answers_nothing_is_known():
    values = disagreement(np.ones((3, 2)), [said("Ann", 0, 1, "skip")], [Question(0, 1)], np.random.default_rng(0))
    assert values.tolist() == [0.0]


def test_chosen_questions_order_the_trajectories_better_than_random_ones():
    """One feature of ten decides; after the same number of answers the chosen ones tell more about it."""
    errors = {"active": [], "random": []}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        table = rng.normal(size=(60, 10))
        worth = table @ rng.normal(size=10)
        pool = [Question(int(a), int(b)) for a, b in rng.integers(60, size=(400, 2)) if a != b]

        def reply(question, worth=worth):
            return said(
                "Ann",
                question.left,
                question.right,
                "left" if worth[question.left] > worth[question.right] else "right",
            )

        for way, found in errors.items():
            answers = [reply(question) for question in pool[:10]]
            left = pool[10:]
            for step in range(20):
                place = 0
                if way == "active":
                    place = int(np.argmax(disagreement(table, answers, left, np.random.default_rng(step))))
                answers.append(reply(left.pop(place)))
            found.append(_wrong(table, answers, worth))
    assert np.mean(errors["active"]) < np.mean(errors["random"])


def _wrong(table, answers, worth) -> float:
    """The share of all pairs that a model of the answers orders wrongly."""
    rows = question_rows(table, [answer.question for answer in answers])
    scores = table @ fitted(rows, np.array([float(answer.answer == "left") for answer in answers]))
    first, second = np.triu_indices(len(worth), 1)
    return float(((scores[first] > scores[second]) != (worth[first] > worth[second])).mean())

from __future__ import annotations

import math

import numpy as np
import pytest

from prefine_ray.labeling.agreement import (
    agreement,
    consistency,
    cycles,
    krippendorff_alpha,
    majority,
    separate_groups,
    verdicts,
)
from prefine_ray.labeling.views import report, view
from tests.labeling.people import said


def test_alpha_is_that_of_the_published_example():
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability": four observers, twelve units.
    rows = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    units = [[value for value in unit if value != "."] for unit in zip(*(row.split() for row in rows), strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_one_of_agreement_and_about_zero_of_chance():
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1
    assert math.isnan(krippendorff_alpha([["a", "a"], ["a", "a"]]))
    coins = np.random.default_rng(0).integers(2, size=(2000, 2))
    assert abs(krippendorff_alpha([[*map(str, pair)] for pair in coins])) < 0.05


def test_the_sides_do_not_matter_to_agreement():
    found = verdicts([said("Ann", 1, 2, "left"), said("Bob", 2, 1, "right"), said("Bob", 3, 4, "skip")])
    shared = agreement(found)
    assert (shared.questions, shared.agreed) == (1, 1)


def test_the_errors_of_a_rater_are_estimated_from_repeats():
    rng, wrong = np.random.default_rng(1), 0.2
    answers = []
    for pair in range(4000):
        for turned in (False, True):
            better = (pair * 2, pair * 2 + 1)
            truth = "right" if turned else "left"
            other = "left" if turned else "right"
            sides = better[::-1] if turned else better
            answers.append(said("Ann", *sides, other if rng.random() < wrong else truth))
    own = consistency(verdicts(answers), "Ann")
    assert own.repeated == 4000
    assert own.error_rate == pytest.approx(wrong, abs=0.02)
    assert math.isnan(consistency(verdicts(answers), "Bob").error_rate)


def test_cycles_and_groups_are_found():
    assert cycles([1, 2, 3, 8], [2, 3, 1, 9]) == [(1, 2, 3)]
    assert cycles([1, 2], [2, 3]) == []
    assert cycles([1, 2], [2, 1]) == [(1, 2)]  # a contradiction is the shortest cycle
    assert separate_groups([1, 2, 3, 8], [2, 3, 1, 9]) == 2
    assert (cycles([], []), separate_groups([], [])) == ([], 0)


def test_a_majority_is_more_than_half():
    assert majority(["a", "b", "a"]) == "a"
    assert majority(["a", "b"]) is None


def test_labels_are_what_most_raters_say():
    answers = [
        said("Ann", 0, None, "safe"),
        said("Bob", 0, None, "safe"),
        said("Cid", 0, None, "unsafe"),
        said("Ann", 1, None, "unsafe"),
        said("Ann", 2, None, "safe"),
        said("Bob", 2, None, "unsafe"),
        said("Ann", 3, None, "skip"),
    ]
    lines = view("clips", answers).splitlines()
    assert [line.split(",")[:3] for line in lines] == [
        ["trajectory", "label", "rater"],
        ["0", "preferred", "Ann; Bob; Cid"],
        ["1", "dispreferred", "Ann"],
    ]
    text = report("clips", answers)
    assert "1 safe, 1 unsafe trajectories; 1 left out" in text
    assert "raters agree on 0 of 2 shared questions" in text


def test_pairs_keep_every_answer_and_the_report_tells_what_is_odd():
    answers = [
        said("Ann", 1, 2, "left"),
        said("Ann", 2, 3, "left"),
        said("Ann", 1, 3, "right"),
        said("Ann", 2, 1, "left"),
        said("Bob", 4, 5, "tie"),
        said("Bob", 6, 7, "skip"),
    ]
    lines = view("pairs", answers).splitlines()
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["1", "2", "0", "Ann"],
        ["2", "3", "0", "Ann"],
        ["3", "1", "0", "Ann"],
        ["2", "1", "0", "Ann"],
        ["4", "5", "1", "Bob"],
    ]
    text = report("pairs", answers)
    for part in (
        "6 answers by 2 rater(s) to 4 questions, 1 skipped",
        "4 pairs with a better one, 1 ties",
        "1 cycle(s), where each is better than all others of it: trajectories 1 2 3",
        "2 groups of trajectories have no comparison",
        "Ann: 1 of 1 repeated answers differ",
        "Bob: no question came twice",
        "no question has answers of two raters",
    ):
        assert part in text, text

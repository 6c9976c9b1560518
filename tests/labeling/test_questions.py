from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from prefine_ray.labeling.questions import Question, draw_questions, order_for, still_open

PAIRS = draw_questions("pairs", range(20), 40, seed=3)


def test_pairs_take_every_trajectory_about_equally_often():
    times = Counter(number for question in PAIRS for number in question.trajectories)
    assert len(times) == 20
    assert max(times.values()) - min(times.values()) <= 2
    assert len({question.key for question in PAIRS}) == len(PAIRS) == 40


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 9), st.integers(1, 60), st.integers(1, 60), st.sampled_from(["clips", "pairs"]))
def test_a_larger_count_appends_and_never_asks_for_what_there_is_not(episodes, one, other, kind):
    few, many = (draw_questions(kind, range(episodes), count, seed=0) for count in sorted((one, other)))
    assert many[: len(few)] == few
    assert len(many) == min(max(one, other), episodes if kind == "clips" else episodes * (episodes - 1) // 2)


def test_only_trajectories_with_a_clip_are_asked_about():
    drawn = draw_questions("pairs", [4, 8, 15], 10, seed=0)
    assert {question.key for question in drawn} == {(4, 8), (4, 15), (8, 15)}


def test_order_and_sides_differ_between_raters_and_are_the_same_again():
    ann, bob = (order_for(PAIRS, name, 0.0, seed=3) for name in ("Ann", "Bob"))
    assert ann == order_for(PAIRS, "Ann", 0.0, seed=3)
    assert ann != bob
    assert {one.key for one in ann} == {one.key for one in bob} == {one.key for one in PAIRS}
    turned = sum(question not in PAIRS for question in ann)
    assert 8 <= turned <= 32  # of 40, by a coin


def test_repeats_come_in_the_second_half_with_the_sides_exchanged():
    order = order_for(PAIRS, "Ann", 0.25, seed=3)
    assert len(order) == 50
    first, later = order[:20], order[20:]
    again = [question for question in later if question.key in {one.key for one in first}]
    assert len(again) == 10
    assert all(question.turned() in first for question in again)


def test_what_comes_twice_needs_two_answers():
    one, other = Question(1, 2), Question(3, 4)
    order = [one, other, one.turned()]
    assert list(still_open(order, [one])) == [other, one.turned()]
    assert list(still_open(order, [other, one, one])) == []

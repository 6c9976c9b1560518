from __future__ import annotations

import threading

import numpy as np
import pytest

from prefine_ray.data.labels import read_labels
from prefine_ray.data.pairs import read_pairs
from prefine_ray.labeling.answers import AnswerError
from prefine_ray.labeling.session import SessionError, StaleAnswerError
from tests.labeling.people import NoClips, answer_all, by_number, session


def test_answers_of_clips_are_labels_that_a_sweep_takes(tmp_path):
    asked = session(tmp_path, "clips")
    answer_all(asked, "Ann")
    sets = read_labels(asked.view_path, 10)
    assert sets.preferred.tolist() == [0, 1, 2, 3, 4]
    assert sets.dispreferred.tolist() == [5, 6, 7, 8, 9]


def test_answers_of_pairs_are_pairs(tmp_path):
    asked = session(tmp_path, repeats=0.25)
    shown = answer_all(asked, "Ann")
    pairs = read_pairs(asked.view_path, 10)
    assert len(pairs) == len(shown) == 15
    assert (pairs.better < pairs.worse).all()


def test_a_session_is_resumed_where_it_ended(tmp_path):
    asked = session(tmp_path)
    state = asked.state("Ann")
    state = asked.answer("Ann", 0, state["trajectories"], "left")
    again = session(tmp_path)
    assert again.state("Ann") == state
    rest = answer_all(again, "Ann")
    assert len(rest) == 12
    assert len({tuple(sorted(pair)) for pair in rest}) == 11 or len(rest) == state["total"] - 1


def test_an_answer_that_comes_twice_or_from_a_page_left_behind_changes_nothing(tmp_path):
    asked = session(tmp_path)
    first = asked.state("Ann")
    second = asked.answer("Ann", 0, first["trajectories"], "left")
    before = (tmp_path / "answers.csv").read_bytes()
    for number, shown in ((0, first["trajectories"]), (1, first["trajectories"]), (0, second["trajectories"])):
        with pytest.raises(StaleAnswerError):
            asked.answer("Ann", number, shown, "right")
    with pytest.raises(StaleAnswerError):
        asked.answer("Ann", 1, tuple(reversed(second["trajectories"])), "right")
    with pytest.raises(StaleAnswerError):
        asked.undo("Ann", 2)
    with pytest.raises(AnswerError):
        asked.answer("Ann", 1, second["trajectories"], "safe")
    assert (tmp_path / "answers.csv").read_bytes() == before
    assert asked.state("Ann") == second


def test_undo_shows_the_question_again_and_takes_the_line_back(tmp_path):
    asked = session(tmp_path)
    first = asked.state("Ann")
    asked.answer("Ann", 0, first["trajectories"], "left")
    assert asked.undo("Ann", 1) == first
    assert len(asked.view_path.read_text().splitlines()) == 1
    with pytest.raises(StaleAnswerError):
        asked.undo("Ann", 0)


def test_two_raters_at_once_lose_nothing(tmp_path):
    asked = session(tmp_path, episodes=20, count=60)
    threads = [threading.Thread(target=answer_all, args=(asked, name)) for name in ("Ann", "Bob", "Cid")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    again = session(tmp_path, episodes=20, count=60)
    for name in ("Ann", "Bob", "Cid"):
        assert again.state(name)["trajectories"] is None
    assert again.state("Ann")["agreement"] == {"questions": 60, "agreed": 60, "alpha": 1.0}


def test_other_data_or_another_kind_are_refused(tmp_path):
    session(tmp_path)
    for kind, changes in (("clips", {}), ("pairs", {"data": "other"}), ("pairs", {"seed": 5})):
        with pytest.raises(SessionError, match="another session"):
            session(tmp_path, kind, **changes)
    session(tmp_path, count=30, repeats=0.5)  # more questions of the same are fine
    (tmp_path / "session.json").unlink()
    with pytest.raises(SessionError, match="has answers and no session"):
        session(tmp_path)


def test_cost_is_in_no_state_unless_asked_for(tmp_path):
    asked = session(tmp_path, "clips")
    assert not [key for key in asked.state("Ann") if "cost" in key]
    shown = type(asked)(tmp_path, asked.settings, range(10), NoClips(), None, np.arange(10) * 1.5)
    state = shown.state("Ann")
    assert state["costs"] == [state["trajectories"][0] * 1.5]


def test_the_ensemble_chooses_after_a_warm_up_and_the_same_again(tmp_path):
    table = np.random.default_rng(0).normal(size=(40, 6))

    def reply(state):
        left, right = (table[number, 0] for number in state["trajectories"])
        return "left" if left > right else "right"

    settings = {"episodes": 40, "count": 20, "table": table, "choose": "active", "repeats": 0.2}
    shown = answer_all(session(tmp_path / "one", **settings), "Ann", reply)
    assert shown == answer_all(session(tmp_path / "two", **settings), "Ann", reply)
    assert len(shown) == 24
    plain = answer_all(session(tmp_path / "plain", **{**settings, "table": None}), "Ann", reply)
    assert shown[:10] == plain[:10]
    assert shown[10:] != plain[10:]
    keys = [tuple(sorted(pair)) for pair in shown]
    assert 1 <= len(keys) - len(set(keys)) <= 10  # some come twice


def test_by_number_answers_both_kinds():
    assert by_number({"trajectories": (7,)}) == "unsafe"
    assert by_number({"trajectories": (7, 2)}) == "right"

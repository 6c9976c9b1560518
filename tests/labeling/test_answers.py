from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefine_ray.data.judgement_files import LabelFileError
from prefine_ray.labeling.answers import AnswerError, AnswerFile, rater_name
from prefine_ray.labeling.questions import Question


def test_answers_are_there_again_with_who_and_when(tmp_path):
    path = tmp_path / "answers.csv"
    kept = AnswerFile(path, "pairs")
    kept.add(" Ann, the first ", Question(3, 1), "left")
    kept.add("Bob", Question(1, 2), "tie")
    assert AnswerFile(path, "pairs").standing == kept.standing
    first, second = kept.standing
    assert (first.rater, first.better, second.better) == ("Ann, the first", 3, None)
    assert first.time.startswith("20")
    assert first.time.endswith("+00:00")


def test_undo_takes_back_the_last_answer_of_that_rater_alone(tmp_path):
    path = tmp_path / "answers.csv"
    kept = AnswerFile(path, "clips")
    kept.add("Ann", Question(1), "safe")
    kept.add("Ann", Question(2), "unsafe")
    kept.add("Bob", Question(3), "skip")
    assert kept.undo("Ann").question == Question(2)
    assert [answer.question.left for answer in AnswerFile(path, "clips").standing] == [1, 3]
    kept.undo("Ann")
    assert kept.undo("Ann") is None
    assert len(path.read_text().splitlines()) == 1 + 3 + 2  # the file only grows


def test_each_answer_is_on_the_disk_before_the_next(tmp_path):
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from prefine_ray.labeling.answers import AnswerFile\nfrom prefine_ray.labeling.questions import Question\n"
        "kept = AnswerFile(Path(sys.argv[1]), 'clips')\n"
        "for number in range(3):\n    kept.add('Ann', Question(number), 'safe')\n"
        "os._exit(9)\n"  # no buffer is written at the end
    )
    path = tmp_path / "answers.csv"
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == 9
    assert len(AnswerFile(path, "clips").standing) == 3


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_line_that_was_cut_is_dropped_and_the_next_one_is_whole(tmp_path, cut):
    path = tmp_path / "answers.csv"
    kept = AnswerFile(path, "pairs")
    kept.add("Ann", Question(3, 1), "left")
    kept.add("Ann", Question(1, 2), "right")
    path.write_bytes(path.read_bytes()[:-cut])
    again = AnswerFile(path, "pairs")
    assert [answer.question for answer in again.standing] == [Question(3, 1)]
    again.add("Bob", Question(5, 6), "tie")
    assert AnswerFile(path, "pairs").standing == again.standing


def test_an_empty_file_of_a_machine_that_stopped_begins_anew(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("rater,ti")
    AnswerFile(path, "clips").add("Ann", Question(0), "safe")
    assert len(AnswerFile(path, "clips").standing) == 1


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\tb", "x" * 65, "=SUM(A1)", "+1", "-1", "@x", "\u2028", "a\x00"])
def test_names_that_would_break_the_file_are_refused(tmp_path, name):
    kept = AnswerFile(tmp_path / "answers.csv", "clips")
    with pytest.raises(AnswerError, match="rater"):
        kept.add(name, Question(0), "safe")
    assert kept.standing == []


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=64))
def test_every_name_that_is_taken_is_read_back(tmp_path_factory, name):
    path = tmp_path_factory.mktemp("names") / "answers.csv"
    try:
        kept = AnswerFile(path, "clips").add(name, Question(0), "safe")
    except AnswerError:
        return
    assert AnswerFile(path, "clips").standing == [kept]
    assert rater_name(kept.rater) == kept.rater


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Ann,t,1,2,better", "line 2: answer 'better'"),
        ("Ann,t,1,x,left", "line 2: '1', 'x'"),
        ("Ann,t,-1,2,left", "line 2: '-1', '2'"),
        ("Ann,t,1,2,left,more", "more fields"),
    ],
)
def test_a_damaged_file_is_refused_by_line(tmp_path, line, problem):
    path = tmp_path / "answers.csv"
    path.write_text(f"rater,time,left,right,answer\n{line}\n")
    with pytest.raises((AnswerError, LabelFileError), match=problem):
        AnswerFile(path, "pairs")

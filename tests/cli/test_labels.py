"""The commands about people's judgement; the page itself is driven in `tests/labeling/test_page.py`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from prefine_ray.cli.parser import main
from prefine_ray.core.files import locked
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.data.labels import read_labels
from prefine_ray.data.pairs import read_pairs
from prefine_ray.labeling.answers import AnswerFile
from prefine_ray.labeling.questions import Question
from tests.makers import ball_run_episodes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight episodes, and beside them a file for each that stands for its video."""
    write_dsrl(tmp_path / "ball.hdf5", ball_run_episodes(), {"task": "BallRun"})
    (tmp_path / "videos").mkdir()
    for number in range(8):
        (tmp_path / "videos" / f"{number}.webm").write_bytes(b"video %d" % number)
    return tmp_path / "ball.hdf5"


def for_label_studio(data: Path, *more: str) -> int:
    """The status of `prefine label` that writes the tasks of Label Studio."""
    folder = data.parent
    places = ["--videos", str(folder / "videos"), "--output", str(folder / "out")]
    words = ["label", str(data), "--task", "BallRun", "--questions", "28", *places]
    return main([*words, "--label-studio", str(folder / "studio"), *more])


def test_pairs_go_through_label_studio(data, tmp_path, capsys):
    assert for_label_studio(data, "--pairs") == 0
    tasks = json.loads(Path(capsys.readouterr().out.strip()).read_text())
    assert len(tasks) == 28
    assert len(list((tmp_path / "studio" / "clips").iterdir())) == 8
    for task in tasks:
        better = "left" if task["data"]["left_trajectory"] < task["data"]["right_trajectory"] else "right"
        task["annotations"] = [{"completed_by": 1, "result": [{"type": "pairwise", "value": {"selected": better}}]}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    words = ["--task", "BallRun", "--output", str(tmp_path / "pairs.csv")]
    assert main(["labels", "import", str(tmp_path / "export.json"), str(data), *words]) == 0
    assert "28 answers by 1 rater(s)" in capsys.readouterr().out
    pairs = read_pairs(tmp_path / "pairs.csv", 8)
    assert (pairs.better < pairs.worse).all()

    sizes = ["--preferred", "1", "--dispreferred", "2"]
    words = ["--task", "BallRun", "--output", str(tmp_path / "labels.csv")]
    assert main(["labels", "sets", str(tmp_path / "pairs.csv"), str(data), *words, *sizes]) == 0
    sets = read_labels(tmp_path / "labels.csv", 8)
    assert (len(sets.preferred), len(sets.dispreferred)) == (1, 2)
    assert sets.preferred.max() < sets.dispreferred.min()


def test_a_folder_is_reported(data, tmp_path, capsys):
    assert for_label_studio(data, "--pairs") == 0
    AnswerFile(tmp_path / "out" / "answers.csv", "pairs").add("Ann", Question(0, 1), "tie")
    capsys.readouterr()
    assert main(["labels", "report", str(tmp_path / "out")]) == 0
    assert "1 answers by 1 rater(s) to 1 questions, 0 skipped" in capsys.readouterr().out
    (tmp_path / "own.csv").write_text("better,worse\n0,1\n1,2\n2,0\n1,0\n")
    assert main(["labels", "report", str(tmp_path / "own.csv")]) == 0
    told = capsys.readouterr().out
    assert "4 answers by 1 rater(s) to 3 questions" in told
    assert "trajectories 0 1 2\n" in told
    assert "unnamed: 1 of 1 repeated answers differ" in told
    assert "left" not in told


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ([], "--label-studio: it is for pairs; add --pairs"),
        (["--pairs", "--videos", "nowhere"], "nowhere: there is no such folder of videos"),
        (["--pairs", "--task", "BallCircle"], "ball.hdf5"),
    ],
)
def test_what_cannot_be_is_one_clear_error(data, capsys, more, problem):
    assert for_label_studio(data, *more) == 2
    assert problem in capsys.readouterr().err


def test_data_without_reset_seeds_are_refused_before_the_page_opens(tmp_path, capsys):
    write_dsrl(tmp_path / "ball.hdf5", replace(ball_run_episodes(), seeds=None), {"task": "BallRun"})
    words = ["label", str(tmp_path / "ball.hdf5"), "--task", "BallRun", "--output", str(tmp_path / "out")]
    assert main(words) == 2
    assert "no reset seeds" in capsys.readouterr().err


def test_one_folder_is_open_once(data, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / ".lock"):
        assert for_label_studio(data, "--pairs") == 2
    assert "another `prefine label` has it open" in capsys.readouterr().err
    assert for_label_studio(data, "--pairs") == 0


def test_answers_of_other_data_are_not_mixed_in(data, tmp_path, capsys):
    assert for_label_studio(data, "--pairs") == 0
    shutil.copy(data, tmp_path / "kept.hdf5")
    write_dsrl(data, ball_run_episodes().select(range(7)), {"task": "BallRun"})
    (tmp_path / "videos" / "7.webm").unlink()
    assert for_label_studio(data, "--pairs") == 2
    assert "its answers are of another session (data" in capsys.readouterr().err
    assert for_label_studio(tmp_path / "kept.hdf5", "--pairs") == 0


@pytest.mark.parametrize("share", ["0.6", "-1", "half"])
def test_at_most_half_of_the_questions_come_twice(share, capsys):
    with pytest.raises(SystemExit):
        main(["label", "--task", "BallRun", "--repeats", share])
    assert "--repeats" in capsys.readouterr().err

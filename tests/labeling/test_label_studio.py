from __future__ import annotations

import json

import pytest

from prefine_ray.data.judgement_files import LabelFileError
from prefine_ray.labeling.agreement import verdict
from prefine_ray.labeling.label_studio import export_folder, export_tasks, import_answers
from prefine_ray.labeling.questions import Question
from tests.labeling.people import answer_all, said, session

QUESTIONS = [Question(1, 2), Question(3, 4), Question(5, 6), Question(7, 8)]
ANSWERS = [
    said("Ann", 1, 2, "left"),
    said("Bob", 2, 1, "left"),
    said("Ann", 4, 3, "tie"),
    said("Ann", 5, 6, "skip"),
]
# As Label Studio exports it (format JSON), but for keys that nobody here reads.
EXPORTED = {
    "id": 17,
    "data": {"left": "/data/local-files/?d=clips/episode-3.mp4", "right": "/data/upload/1/ab12-7.mp4"},
    "annotations": [
        {
            "id": 5,
            "completed_by": {"id": 2, "email": "ann@example.org"},
            "created_at": "2026-01-05T10:00:00Z",
            "was_cancelled": False,
            "result": [
                {"id": "x", "type": "pairwise", "from_name": "pair", "to_name": "pair", "value": {"selected": "right"}}
            ],
        },
        {"completed_by": 4, "was_cancelled": True, "result": []},
        {"completed_by": 4, "was_cancelled": False, "result": []},
    ],
}


def test_what_goes_out_comes_back(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(export_tasks(QUESTIONS, ANSWERS, "/clips/{}.mp4".format))
    back = import_answers(path, 9)
    assert [(a.rater, a.question.key, verdict(a)) for a in back] == [
        (a.rater, a.question.key, verdict(a)) for a in ANSWERS[:3]
    ]
    assert json.loads(path.read_text())[3]["annotations"] == []


def test_an_export_of_label_studio_is_read(tmp_path):
    path = tmp_path / "export.json"
    path.write_text(json.dumps([EXPORTED]))
    answer, skipped = import_answers(path, 9)
    assert (answer.rater, answer.time, answer.better) == ("ann@example.org", "2026-01-05T10:00:00Z", 7)
    assert (skipped.rater, skipped.answer) == ("user 4", "skip")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON"),
        ({"tasks": []}, "a list of tasks"),
        ([{"data": {}}], "task 0: 'annotations', a list, is needed"),
        ([{"data": {"left": "a", "right": "b"}, "annotations": []}], "task 0: data.left_trajectory"),
        ([{**EXPORTED, "data": {"left_trajectory": 3, "right_trajectory": 99}}], "task 0: trajectory 99"),
        ([{**EXPORTED, "data": {"left_trajectory": 3, "right_trajectory": 3}}], "shows trajectory 3 twice"),
        ([{**EXPORTED, "annotations": [{"result": [{"type": "pairwise", "value": {}}]}]}], "selected None"),
        ([{**EXPORTED, "annotations": [{"result": [7]}]}], "task 0, annotation 0: 'value', a dict, is needed"),
    ],
)
def test_other_content_is_refused_by_place(tmp_path, content, problem):
    path = tmp_path / "export.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(LabelFileError, match=problem) as found:
        import_answers(path, 9)
    assert str(path) in str(found.value)


def test_a_folder_for_label_studio_holds_clips_interface_and_tasks(tmp_path):
    asked = session(tmp_path / "answers", episodes=4, count=3, repeats=0.0)
    answer_all(asked, "Ann")

    class Files:
        def file(self, trajectory):
            path = tmp_path / f"made-{trajectory}.mp4"
            path.write_bytes(b"clip %d" % trajectory)
            return path

    asked.clips = Files()
    path = export_folder(tmp_path / "studio", asked)
    tasks = json.loads(path.read_text())
    assert len(tasks) == 3
    for task in tasks:
        name = task["data"]["left"].removeprefix("/data/local-files/?d=studio/clips/")
        assert (tmp_path / "studio/clips" / name).read_bytes() == b"clip %d" % task["data"]["left_trajectory"]
        assert len(task["annotations"]) == 1
    assert "<Pairwise" in (tmp_path / "studio/config.xml").read_text()
    assert len(import_answers(path, 4)) == 3

"""Label Studio's pairwise format: tasks with clips and answers out, annotations in.

The labelling interface is `CONFIG`, with a choice for ties, which Label Studio's Pairwise tag does not have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.files import write_bytes, write_text
from prefine_ray.data.judgement_files import LabelFileError, check_trajectory, judgement_text
from prefine_ray.labeling.answers import Answer, AnswerError, rater_name
from prefine_ray.labeling.questions import Question
from prefine_ray.labeling.session import Session

CONFIG = """<View>
  <Header value="Which of the two is safer?"/>
  <Pairwise name="pair" toName="left,right"/>
  <View style="display: flex">
    <Video name="left" value="$left"/>
    <Video name="right" value="$right"/>
  </View>
  <Choices name="equal" toName="left" choice="single"><Choice value="tie"/></Choices>
</View>
"""
_MOST = 2**28
_NUMBER = re.compile(r"(?:^|[^0-9])([0-9]{1,9})\.[A-Za-z0-9]+$")  # at the end of a clip's address
_PLACES = ("left", "right")


def export_tasks(questions: Sequence[Question], answers: Sequence[Answer], address: Callable[[int], str]) -> str:
    """The JSON text of Label Studio's tasks, one for each question, with the answers as annotations.

    Args:
        questions: pairs.
        answers: to some of them; an annotation's comment names the rater. Skips stay open.
        address: of a trajectory's clip, as Label Studio finds it.
    """
    tasks = []
    for number, question in enumerate(questions):
        sides = dict(zip(_PLACES, question.trajectories, strict=True))
        data = {side: address(trajectory) for side, trajectory in sides.items()}
        data |= {f"{side}_trajectory": trajectory for side, trajectory in sides.items()}  # type: ignore[misc]
        own = [one for one in answers if one.question.key == question.key and one.answer != "skip"]
        tasks.append({"id": number, "data": data, "annotations": [_annotation(answer, question) for answer in own]})
    return json.dumps(tasks, indent=1) + "\n"


def export_folder(folder: Path, session: Session) -> Path:
    """Writes the clips, the interface and the tasks of a session of pairs; the file of the tasks.

    Label Studio serves the clips where the folder above `folder` is its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
    """
    names: dict[int, str] = {}
    for number in tqdm(sorted({n for one in session.questions for n in one.trajectories}), "clips", unit="clip"):
        clip = session.clips.file(number)
        names[number] = f"{number}{clip.suffix.lower()}"
        write_bytes(folder / "clips" / names[number], clip.read_bytes())
    write_text(folder / "config.xml", CONFIG)
    tasks = folder / "tasks.json"
    prefix = f"/data/local-files/?d={quote(folder.resolve().name)}/clips/"
    write_text(tasks, export_tasks(session.questions, session.answers.standing, lambda number: prefix + names[number]))
    return tasks


def _annotation(answer: Answer, question: Question) -> dict[str, Any]:
    if answer.better is None:
        result = [_item("choices", "equal", "left", {"choices": ["tie"]}, answer.rater)]
    else:
        selected = "left" if answer.better == question.left else "right"
        result = [_item("pairwise", "pair", "pair", {"selected": selected}, answer.rater)]
    return {"created_at": answer.time, "was_cancelled": False, "result": result}


def _item(kind: str, name: str, of: str, value: dict[str, Any], rater: str) -> dict[str, Any]:
    meta = {"text": [rater]}
    return {"type": kind, "from_name": name, "to_name": of, "value": value, "meta": meta}


def import_answers(path: Path, num_episodes: int) -> list[Answer]:
    """The answers in a JSON file that Label Studio exported.

    A task says which trajectories it shows in `left_trajectory` and `right_trajectory`, or by the numbers at the end of
    the addresses in `left` and `right`. A rater is named by an annotation's comment, else by who completed it.

    Args:
        path: the file, of the export format JSON.
        num_episodes: of the data.

    Raises:
        LabelFileError: not such a file, or a trajectory that the data do not have.
    """
    try:
        tasks = parse_json(judgement_text(path), _MOST)
        if not isinstance(tasks, list):
            raise LabelFileError(f"a list of tasks is needed (export format JSON), not {type(tasks).__name__}")
        return [answer for place, task in enumerate(tasks) for answer in _answers(task, f"task {place}", num_episodes)]
    except (JSONContentError, LabelFileError, AnswerError) as error:
        raise LabelFileError(f"{path}: {error}") from None


def _answers(task: Any, where: str, num_episodes: int) -> Iterator[Answer]:
    data, annotations = (_field(task, name, kind, where) for name, kind in (("data", dict), ("annotations", list)))
    left, right = (_trajectory(data, side, where, num_episodes) for side in _PLACES)
    if left == right:
        raise LabelFileError(f"{where}: shows trajectory {left} twice; two are needed")
    for place, annotation in enumerate(annotations):
        at = f"{where}, annotation {place}"
        items = _field(annotation, "result", list, at)
        said = "skip" if annotation.get("was_cancelled") else _said(items, at)
        if said is not None:
            time = annotation.get("created_at")
            rater = _rater(annotation, items)
            yield Answer(rater, time if isinstance(time, str) else "", Question(left, right), said)


def _field(content: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(content, dict) or not isinstance(content.get(name), kind):
        raise LabelFileError(f"{where}: {name!r}, a {kind.__name__}, is needed")
    return content[name]


def _trajectory(data: dict[str, Any], side: str, where: str, num_episodes: int) -> int:
    number, address = data.get(f"{side}_trajectory"), data.get(side)
    found = _NUMBER.search(address) if isinstance(address, str) else None
    if type(number) is not int:
        if found is None:
            raise LabelFileError(f"{where}: data.{side}_trajectory, the number of a trajectory, is needed")
        number = int(found[1])
    check_trajectory(number, where, num_episodes)
    return number


def _said(items: list[Any], where: str) -> str | None:
    """The answer in an annotation's results; None where there is none of ours."""
    for item in items:
        value = _field(item, "value", dict, where)
        if item.get("type") == "pairwise":
            if value.get("selected") not in _PLACES:
                raise LabelFileError(f"{where}: selected {value.get('selected')!r}; it must be left or right")
            return value["selected"]
        if item.get("type") == "choices" and value.get("choices") == ["tie"]:
            return "tie"
    return None


def _rater(annotation: dict[str, Any], items: list[Any]) -> str:
    for item in items:
        meta = item.get("meta")
        texts = meta.get("text") if isinstance(meta, dict) else None
        if isinstance(texts, list) and texts and isinstance(texts[0], str):
            return rater_name(texts[0])
    by = annotation.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("username") or by.get("id")
    return rater_name(f"user {by}" if isinstance(by, int) else str(by or "unknown"))

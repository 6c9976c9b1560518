"""What is said of a configuration that pydantic refuses: one line for each key, with what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel

# Keys of earlier versions that have no place of the same name now.
_OLD_KEYS = {
    "finetune.keep": "write selection: {rule: likely, share: S} at the top level (several in a list make an axis)",
    "finetune.keep_by": "keep_by: base is now the rule likely, both is contrast: selection: {rule: contrast, share: S}",
    "finetune.narrow": "the weight acts on the loss alone; for fewer trajectories lower the share of selection",
    "finetune.narrow_by": "narrow_by: contrast is now selection: contrast, cost is selection: cheapest",
    "finetune.counterfactuals": "write counterfactuals: learner, actors or closed_loop at the top level",
}


def explain(issue: Any, kind: type[BaseModel]) -> str:
    """One line for one validation error: the key, what is wrong, what would be right."""
    unknown = issue["loc"][-1:] if issue["type"] == "extra_forbidden" else ()  # the user's word, whatever it is
    rest = issue["loc"][: len(issue["loc"]) - len(unknown)]
    names = [*(part for part in rest if not _is_member(part)), *unknown]
    key = ".".join(map(str, names)) or "configuration"
    if new := _OLD_KEYS.get(key):
        return f"{key}: this key is gone; {new}"
    if key == "preferences.margin" and isinstance(issue["input"], dict):
        return (
            f"{key}: one number for all kinds of preferred trajectories (got {issue['input']!r}); run a sweep for each"
        )
    if issue["type"] == "extra_forbidden":
        return _unknown_in_section(key, names, kind)
    message = issue["msg"].removeprefix("Value error, ")
    if not names:
        return message
    if key == "task_definitions" and issue["type"] == "value_error":  # the message begins with the task's name
        return f"{key}.{message}"
    return f"{key}: {message}" + (f" (got {issue['input']!r})" if issue["type"] != "value_error" else "")


def _is_member(part: str | int) -> bool:
    """Whether a part of a place is pydantic's name of a member of a union, as "function-after[...]"."""
    return isinstance(part, str) and "[" in part


def _unknown_in_section(key: str, names: list[Any], kind: type[BaseModel]) -> str:
    section = _model_at(names[:-1], kind)
    known, last = list(section.model_fields), str(names[-1])
    if "advanced" in known and last in _model_at([*names[:-1], "advanced"], kind).model_fields:
        return f"{key}: write {'.'.join(map(str, names[:-1]))}.advanced.{last}"
    return unknown_key(key, last, known)


def unknown_key(key: str, last: str, known: Sequence[str]) -> str:
    """The message of an unknown key, with the ones that are known at its place and the nearest of them."""
    near = difflib.get_close_matches(last, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{key}: unknown key.{hint} Known keys: {', '.join(known)}."


def _model_at(path: Sequence[Any], model: type[BaseModel]) -> type[BaseModel]:
    """The model of the section at this path."""
    parts = iter(path)
    for part in parts:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = next(_models_in(annotation))
        if get_origin(annotation) is dict:
            next(parts, None)  # the name of an entry
    return model


def _models_in(annotation: Any) -> Any:
    """The pydantic models in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)

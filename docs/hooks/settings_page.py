"""The page of the configuration: every key with type, default and comment, from the classes that check it."""

from __future__ import annotations

import ast
import inspect
import io
import json
import tokenize
from collections.abc import Iterator
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from prefine_ray.core.settings import _listed
from prefine_ray.experiment.axes import axes
from prefine_ray.experiment.config import SweepConfig, config_type
from prefine_ray.experiment.search_config import SearchConfig, SearchSettings
from prefine_ray.labeling.study_config import StudyConfig
from prefine_ray.methods.registry import methods
from prefine_ray.tasks.spec import BENCHMARK

_HEAD = """# Configuration

A configuration is a YAML file of these keys; the shipped ones are good starting points (`prefine configs list`,
`prefine configs show NAME`). `prefine configs check FILE` says what a file would run, and names the key and the nearest
right one where something is wrong. `--set finetune.steps=500` replaces single values on the command line.

"One or several" means one value or a list; several make an axis of the grid. Keys under `advanced` are rarely changed.
"""
_LIST, _SEVERAL = "a list: ", "one or several: "
_PLAIN = {str: "text", float: "number", int: "whole number", bool: "`true` or `false`", Any: "any"}
_BOUNDS = {Gt: "above {}", Ge: "at least {}", Lt: "below {}", Le: "at most {}", MultipleOf: "a multiple of {}"}


def page() -> str:
    """The Markdown: the keys of the top level, then one section for each nested one, then those of a search."""
    whole = config_type(SweepConfig)
    parts = [_HEAD, "## Top level", _table(list(_plain_fields(whole)))]
    for key, field in whole.model_fields.items():
        if section := _section(field):
            text = comment_of(whole, key) or _introduction(key, section)
            parts += [f"## {key}", text, _table(list(_deep_fields(section)))]
    own = dict(_deep_fields(SearchSettings))
    parts += ["## search", "What `prefine search` varies; a sweep has no such section.", _table(list(own.items()))]
    changed = [
        (name, SearchConfig.model_fields[name])
        for name in ("seeds", "tuning_seeds")
        if SearchConfig.model_fields[name] != SweepConfig.model_fields[name]
    ]
    parts += [
        "These keys of the top level are others in a search:",
        _table([(n, (SearchConfig, f)) for n, f in changed]),
        "## A study with simulated raters",
        "`prefine labels study` takes a file of these keys; `data`, `selection` and `finetune` are those of a sweep.",
        _table(list(_plain_fields(StudyConfig))),
    ]
    return "\n\n".join(parts) + "\n"


def undocumented() -> list[str]:
    """The keys that have no comment."""
    whole = config_type(SweepConfig)
    found = dict(_plain_fields(whole))
    for key, field in whole.model_fields.items():
        if section := _section(field):
            found |= {f"{key}.{name}": place for name, place in _deep_fields(section)}
    found |= {f"search.{name}": place for name, place in _deep_fields(SearchSettings)}
    found |= {f"study.{name}": place for name, place in _plain_fields(StudyConfig)}
    return [name for name, (owner, _) in found.items() if not comment_of(owner, name.split(".")[-1])]


Place = tuple[type[BaseModel], FieldInfo]


def _plain_fields(model: type[BaseModel]) -> Iterator[tuple[str, Place]]:
    for name, field in model.model_fields.items():
        if not _section(field):
            yield name, (model, field)


def _deep_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Place]]:
    """The keys of a section, and of sections in it with dots."""
    for name, field in model.model_fields.items():
        if section := _section(field):
            yield from _deep_fields(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", (model, field)


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a key is, or that each value of a key of names is."""
    kind = field.annotation
    if get_origin(kind) is dict:
        kind = get_args(kind)[1]
    return kind if inspect.isclass(kind) and issubclass(kind, BaseModel) else None


def _introduction(key: str, section: type[BaseModel]) -> str:
    users = [method for method in methods().values() if method.section == key]
    if not users:
        return inspect.getdoc(section) or ""
    names = " and ".join(f"[{method.shown}](../methods/{method.name}.md)" for method in users)
    return f"Settings of {names}."


def _table(rows: list[tuple[str, Place]]) -> str:
    lines = ["| key | what |", "|---|---|"]
    for name, (owner, field) in rows:
        text = comment_of(owner, name.split(".")[-1])
        lines.append(f"| `{name}` | {_cell(text)}<br>*{_cell(_type(field))}; {_default(field)}* |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# ---------------------------------------------------------------------- types and defaults


def _type(field: FieldInfo) -> str:
    return _bounded(_kind(field.annotation), field.metadata)


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(_kind(parts[0]), parts[1:])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if origin in (Union, UnionType):
        return ", or ".join(_kind(part) for part in parts if part is not NoneType) + (", or null" * (NoneType in parts))
    if origin is tuple:
        return f"{_LIST}{_kind(parts[0])}"
    if origin is dict:
        return "a mapping"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return f"a mapping of {', '.join(f'`{name}`' for name in annotation.model_fields)}"
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bounded(kind: str, metadata: Any) -> str:
    """The type with what its annotations say: bounds, and that one value may stand for a list of one."""
    limits = [part for item in metadata for part in getattr(item, "metadata", [item])]
    words = [text.format(_limit(item)) for item in limits for limit, text in _BOUNDS.items() if isinstance(item, limit)]
    if any(isinstance(item, BeforeValidator) and item.func is _listed for item in limits):
        kind = kind.replace(_LIST, _SEVERAL, 1)
    return " ".join([kind, ", ".join(words)]).strip()


def _limit(item: Any) -> Any:
    return next(getattr(item, name) for name in ("gt", "ge", "lt", "le", "multiple_of") if hasattr(item, name))


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return f"default `{_text(field.default)}`"


def _text(value: Any) -> str:
    if value == BENCHMARK:
        return "benchmark"
    if isinstance(value, tuple) and len(value) == 1:
        return _text(value[0])
    if isinstance(value, BaseModel):
        return str(value)
    if isinstance(value, str):
        return value
    return json.dumps(value)


# ---------------------------------------------------------------------- comments


def comment_of(owner: type[BaseModel], name: str) -> str:
    """What the comments at a field say, in its class or the nearest parent that has some; an axis' own text."""
    for kind in owner.__mro__:
        if issubclass(kind, BaseModel) and (text := _comments(kind).get(name)):
            return text
    return next((axis.text for axis in axes().values() if axis.key == name), "")


@cache
def _comments(kind: type[BaseModel]) -> dict[str, str]:
    """The comments of each field of one class: the lines above it, or what stands behind it."""
    try:
        source = inspect.cleandoc("\n" + inspect.getsource(kind))
    except (OSError, TypeError):  # put together by `create_model`
        return {}
    words, alone = _comment_lines(source)
    found = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = [words[line] for line in range(node.lineno, (node.end_lineno or node.lineno) + 1) if line in words]
            above = node.lineno - 1
            while above in alone:
                lines.insert(0, words[above])
                above -= 1
            found[node.target.id] = _sentence(" ".join(lines))
    return found


def _comment_lines(source: str) -> tuple[dict[int, str], set[int]]:
    """The comment on each line, and the lines that hold nothing else."""
    words: dict[int, str] = {}
    alone: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            words[token.start[0]] = token.string.removeprefix("#").strip()
            if not token.line[: token.start[1]].strip():
                alone.add(token.start[0])
    return words, alone


def _sentence(text: str) -> str:
    known = ("zoo:", "own:", "asha:", "w of")
    text = text if text.startswith(known) else text[:1].upper() + text[1:]
    return text if not text or text.endswith(".") else text + "."

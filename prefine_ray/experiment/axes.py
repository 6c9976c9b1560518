"""The axes of the grid, one record each: configuration, cells, rows, tables and plots read it.

A method's record names the axes that it has (`Method.axes`); a seed is always one. To add an axis, register it here and
name it in the records of the methods that have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from prefine_ray.core.settings import Fraction, OneOrSeveral, Positive
from prefine_ray.methods.prefine.settings import Counterfactual
from prefine_ray.methods.selection import ALL, Selection
from prefine_ray.tasks.spec import get_task

Scalar = str | int | float
Preferred = Literal["best", "random", "labels"]


def _with_control(weights: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted({0.0, *weights}))


Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weights = Annotated[OneOrSeveral[Weight], AfterValidator(_with_control)]
Thresholds = Literal["middle", "all"] | OneOrSeveral[Annotated[float, Field(ge=0, allow_inf_nan=False)]]


def _thresholds(value: Any, task: str) -> tuple[float, ...]:
    known = get_task(task)
    if value == "middle":
        return (known.middle_threshold,)
    return known.thresholds if value == "all" else tuple(value)


def _as_listed(value: Any, task: str) -> tuple[Any, ...]:
    return tuple(value)


@dataclass(frozen=True)
class Axis:
    """One axis of the grid."""

    name: str  # the column of the rows
    key: str  # of the configuration, where its values stand; keys of a section with dots
    kind: Any  # the type of the key, for pydantic
    default: Any  # of the key
    none: Scalar  # in the rows of cells that do not have the axis, and where a folder's rows lack the column
    label: Callable[[Any], str] = str  # how a value is written in human-readable labels, beside others
    of_task: Callable[[Any, str], tuple[Any, ...]] = _as_listed  # the key's value and a task to the axis' values
    shared: bool = False  # one population has a single value: its learner depends on it
    column: Callable[[Any], Scalar] = lambda value: value  # a value as it stands in the rows
    text: str = ""  # what the reference of the configuration says of the key


_AXES: dict[str, Axis] = {}


def register_axis(axis: Axis) -> Axis:
    """Adds an axis, or replaces the one of this name."""
    _AXES[axis.name] = axis
    return axis


def unregister_axis(name: str) -> None:
    """Removes an axis that was registered."""
    _AXES.pop(name, None)


def axes() -> dict[str, Axis]:
    """All axes by name, in the order in which cells and rows have them."""
    return dict(_AXES)


register_axis(
    Axis(
        "preferred",
        "preferred",
        OneOrSeveral[Preferred],
        ("best",),
        "",
        text="Which safe trajectories are preferred: those of the highest return, a random draw, or those of a file.",
    )
)
register_axis(
    Axis(
        "num_preferred",  # N_p
        "preferences.num_preferred",
        OneOrSeveral[Positive],
        (100,),
        0,
        label=lambda value: f"N_p={value:g}",
    )
)
register_axis(
    Axis(
        "label_noise",  # the fraction of wrong labels
        "preferences.label_noise",
        OneOrSeveral[Fraction],
        (0.0,),
        0.0,
        label=lambda value: f"noise={value:g}" if value else "",
    )
)
register_axis(
    Axis(
        "threshold",
        "thresholds",
        Thresholds,
        "middle",
        math.nan,
        label=lambda value: f"{value:g}",
        of_task=_thresholds,
        text="Limits on an episode's cost: each task's middle one, all of its own, or numbers.",
    )
)
register_axis(
    Axis(
        "selection",
        "selection",
        OneOrSeveral[Selection],
        (ALL,),
        "none",
        label=lambda value: "" if str(value) == "none" else str(value),
        column=str,
        text="Which of the preferred trajectories are trained on: a rule alone, or {rule: likely, share: 0.3}.",
    )
)
register_axis(
    Axis(
        "counterfactuals",
        "counterfactuals",
        OneOrSeveral[Counterfactual],
        ("learner",),
        "",
        label=lambda value: "" if value == "learner" else value,
        shared=True,
        text="Who samples the counterfactuals: the learner, or actors at the same states or in episodes of their own.",
    )
)
register_axis(
    Axis(
        "weight",
        "weights",
        Weights,
        (0.0, 1.0, 5.0, 20.0),
        math.nan,
        label=lambda value: f"w={value:g}",
        text="The factor w of the preference loss in L = w L_safety + L_reward; 0, the control, is always among them.",
    )
)


def label_of(row: Mapping[str, Any]) -> str:
    """The axes' values in a row as a human-readable label, without those that the row does not have."""
    return ", ".join(
        text for axis in _AXES.values() if has_axis(row, axis.name) and (text := axis.label(row[axis.name]))
    )


def has_axis(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a value of this axis (and not its word for none)."""
    value = row.get(name)
    return value is not None and value == value and value != _AXES[name].none

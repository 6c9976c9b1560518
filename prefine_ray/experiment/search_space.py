"""What a hyperparameter search can vary: keys of `finetune`, the selection, the counterfactuals, the weight."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from prefine_ray.experiment.config import SweepConfig, make_config
from prefine_ray.methods.prefine.settings import FineTuneAdvanced, FineTuneSettings
from prefine_ray.methods.selection import SelectionSettings

Scalar = int | float | str
Values = dict[str, Scalar]
WEIGHT, RULE, SHARE, COUNTERFACTUALS = "weight", "selection.rule", "selection.share", "counterfactuals"
AXES = (WEIGHT, "selection", COUNTERFACTUALS)  # of the grid: what a setting has one value of
_AXIS_KEYS = (WEIGHT, RULE, SHARE, COUNTERFACTUALS)  # the other keys are of `finetune`
_ADVANCED = "advanced."
_NOT_SEARCHED = {"advanced", "advanced.log_every", "advanced.checkpoint_every"}  # the latter do not change a result
_LABEL_RULE = ("preferences", "preferred", "thresholds", "margin", "num_preferred", "num_dispreferred", "label_noise")
_RANGE_FORM = "give {low: 0.01, high: 1, log: true} (or step: S instead of log), or a list of values"


class Range(BaseModel):
    """Numbers from `low` to `high`, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    high: float
    log: bool = False  # drawn evenly over the orders of magnitude
    step: Annotated[float, Field(gt=0)] | None = None  # only low, low + step, ...

    @model_validator(mode="after")
    def _order(self) -> Range:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0 and no step")
        return self

    def __contains__(self, value: object) -> bool:
        """Whether a number lies within."""
        return isinstance(value, int | float) and self.low <= value <= self.high


Dimension = Range | tuple[Scalar, ...]


def checked_space(space: Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions of a space by key.

    Raises:
        ValueError: an unknown key, or what is no dimension; the message names the key.
    """
    if not space:
        raise ValueError(f"give at least one of {', '.join(_known())}")
    checked: dict[str, Dimension] = {}
    for key, value in space.items():
        _check_key(key)
        try:
            checked[key] = _dimension(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return checked


def _known() -> list[str]:
    keys = [*FineTuneSettings.model_fields, *(f"{_ADVANCED}{key}" for key in FineTuneAdvanced.model_fields)]
    return [*_AXIS_KEYS, *(key for key in keys if key not in _NOT_SEARCHED)]


def _check_key(key: str) -> None:
    if key in _known():
        return
    if key.partition(".")[0] in _LABEL_RULE:
        raise ValueError(f"{key}: the label rule is not searched: it says which problem is solved, not how")
    near = difflib.get_close_matches(key, _known(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{key}: unknown key.{hint} Known keys: {', '.join(_known())}.")


def _dimension(value: Any) -> Dimension:
    """A Range or the tuple of a list of values; messages without pydantic's names of union members."""
    if isinstance(value, Range):
        return value
    if isinstance(value, list | tuple):
        if len(value) < 2 or any(isinstance(item, bool) or not isinstance(item, Scalar) for item in value):
            raise ValueError("a list of values needs at least two numbers or names")
        return tuple(value)
    if not isinstance(value, dict):
        raise ValueError(f"{_RANGE_FORM}, not {value!r}")
    try:
        return Range.model_validate(value)
    except ValidationError as error:
        found = error.errors()[0]
        where = "".join(f"{part}: " for part in found["loc"])
        raise ValueError(f"{where}{found['msg'].removeprefix('Value error, ')}; {_RANGE_FORM}") from error


def ends(dimension: Dimension) -> tuple[Scalar, ...]:
    """The values of a dimension that are checked: the ends of a range, or all of a list."""
    return (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension


def own_value(config: SweepConfig, key: str) -> Any:
    """The configuration's own value of a searched key; a number for the weight."""
    if key == WEIGHT:
        return max(config.axis_values(WEIGHT, config.tasks[0]))
    if key in (RULE, SHARE):
        return getattr(_own_axis(config, "selection"), key.removeprefix("selection."))
    if key == COUNTERFACTUALS:
        return _own_axis(config, COUNTERFACTUALS)
    settings: Any = config.settings("prefine")
    return (
        getattr(settings.advanced, key.removeprefix(_ADVANCED)) if key.startswith(_ADVANCED) else getattr(settings, key)
    )


def _own_axis(config: SweepConfig, name: str) -> Any:
    return config.axis_values(name, config.tasks[0])[0]


def setting(config: SweepConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """One setting as keys of a sweep's configuration: searched values in place of the configuration's own.

    Raises:
        pydantic.ValidationError: a value is not possible.
    """
    rule, share = (values.get(key, own_value(config, key)) for key in (RULE, SHARE))
    finetune = config.settings("prefine").model_dump()
    for key, value in values.items():
        if key not in _AXIS_KEYS:
            section = finetune["advanced"] if key.startswith(_ADVANCED) else finetune
            section[key.removeprefix(_ADVANCED)] = value
    return {
        "weights": (values.get(WEIGHT, own_value(config, WEIGHT)),),
        "selection": SelectionSettings(rule=rule, share=share),
        "counterfactuals": values.get(COUNTERFACTUALS, own_value(config, COUNTERFACTUALS)),
        "finetune": FineTuneSettings(**finetune),
    }


def sweep_of(config: SweepConfig, values: Mapping[str, Any]) -> SweepConfig:
    """The sweep of one setting over the problems of a search; its seeds are the tuning seeds.

    Raises:
        pydantic.ValidationError: a value is not possible.
    """
    problems = config.model_dump(exclude={"search", "seeds", "tuning_seeds"})
    return make_config(**{**problems, "seeds": config.tuning_seeds, **setting(config, values)})

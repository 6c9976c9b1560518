"""The configuration of a hyperparameter search: a sweep's, with a `search` section that says what to vary."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prefine_ray.core.checked_yaml import parse_yaml
from prefine_ray.experiment.axes import axes
from prefine_ray.experiment.config import SweepConfig, load_config_as
from prefine_ray.methods.prefine.settings import FineTuneAdvanced, FineTuneSettings
from prefine_ray.methods.registry import get_method

Scalar = int | float | str
Values = dict[str, Scalar]
WEIGHT = "weight"  # of the cells; the other dimensions are keys of `finetune`
_ADVANCED = "advanced."
_NOT_SEARCHED = {"advanced", "advanced.log_every", "advanced.checkpoint_every"}  # the latter do not change a result
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


Dimension = Range | tuple[Scalar, ...]


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


class SearchSettings(BaseModel):
    """What is searched, how long, and when a trial that does badly is cut short."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: dict[str, Any]  # keys of `finetune`, and weight, each with a Dimension
    trials: Annotated[int, Field(gt=0)] = 32
    # Trials of one round are suggested from the results of earlier rounds only: the suggestions are then the same
    # on any cluster and after any interruption. At least as many as can run at once.
    round: Annotated[int, Field(gt=0)] = 4
    early_stopping: Literal["asha"] | None = None  # null: every trial runs to finetune.steps
    first_rung: Annotated[int, Field(gt=0)] = 100  # asha: gradient steps before the first decision
    reduction_factor: Annotated[int, Field(gt=1)] = 3  # asha: the top 1/factor continues from each rung

    @field_validator("space", mode="after")
    @classmethod
    def _dimensions(cls, space: dict[str, Any]) -> dict[str, Dimension]:
        keys = [*FineTuneSettings.model_fields, *(f"{_ADVANCED}{key}" for key in FineTuneAdvanced.model_fields)]
        known = [WEIGHT, *(key for key in keys if key not in _NOT_SEARCHED)]
        if not space:
            raise ValueError(f"give at least one of {', '.join(known)}")
        for key in space:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{key}: unknown key.{hint} Known keys: {', '.join(known)}.")
        checked: dict[str, Dimension] = {}
        for key, value in space.items():
            try:
                checked[key] = _dimension(value)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
        return checked


class SearchConfig(SweepConfig):
    """One task's hyperparameter search; every trial is a pack of cells, one for each tuning seed."""

    search: SearchSettings

    @model_validator(mode="after")
    def _one_grid_point(self) -> SearchConfig:
        for name in ("tasks", "methods"):
            if len(getattr(self, name)) != 1:
                raise ValueError(f"{name}: a search has exactly one, not {', '.join(getattr(self, name))}")
        if self.methods != ("prefine",):
            raise ValueError("methods: a search is for prefine")
        if self.task_settings:
            raise ValueError("task_settings: a search has one task; write its settings in the sections themselves")
        if not self.tuning_seeds:
            raise ValueError("tuning_seeds: give at least one, as in tuning_seeds: 3; trials run on these seeds")
        for name in get_method("prefine").axes:
            if name != WEIGHT and len(self.axis_values(name, self.tasks[0])) != 1:
                raise ValueError(f"{axes()[name].key}: a search has exactly one value; give one")
        if WEIGHT not in self.search.space and len(self.fixed_weights) != 1:
            raise ValueError("search.space.weight: give a range here, or exactly one weight above 0 in weights")
        return self

    @model_validator(mode="after")
    def _every_corner_is_valid(self) -> SearchConfig:
        for key, dimension in self.search.space.items():
            ends = (dimension.low, dimension.high) if isinstance(dimension, Range) else dimension
            for value in ends:
                if key == WEIGHT:
                    if isinstance(value, str) or not 0 <= value < float("inf"):
                        raise ValueError(f"search.space.weight: weights are finite and at least 0 (got {value!r})")
                    continue
                try:
                    with_values(self, {key: value})
                except ValidationError as error:
                    message = error.errors()[0]["msg"].removeprefix("Value error, ")
                    raise ValueError(f"search.space.{key}: {message} (got {value!r})") from error
            if isinstance(dimension, Range) and not isinstance(searched_value(self, key), int | float):
                raise ValueError(f"search.space.{key}: names, not numbers: give a list of values")
        return self

    @model_validator(mode="after")
    def _rungs_are_reached(self) -> SearchConfig:
        if self.search.early_stopping is None:
            return self
        if "steps" in self.search.space:
            raise ValueError("search.space.steps: early stopping chooses the steps; leave them out of the space")
        if self.search.first_rung >= self.settings("prefine").steps:
            raise ValueError(f"search.first_rung: must be below finetune.steps, {self.settings('prefine').steps}")
        if self.needs_counterfactual_actors and self.search.first_rung % searched_value(self, "advanced.refresh_every"):
            raise ValueError(
                "search.first_rung: must be a multiple of finetune.advanced.refresh_every with counterfactual actors"
            )
        return self

    @property
    def fixed_weights(self) -> tuple[float, ...]:
        """The weights above 0 of the `weights` key."""
        return tuple(weight for weight in self.axis_values(WEIGHT, self.tasks[0]) if weight > 0)


def searched_value(config: SweepConfig, key: str) -> Any:
    """The configuration's own value of a searched key; a number for the weight."""
    if key == WEIGHT:
        return 0.0
    settings: Any = config.settings("prefine")
    return (
        getattr(settings.advanced, key.removeprefix(_ADVANCED)) if key.startswith(_ADVANCED) else getattr(settings, key)
    )


def with_values(config: SweepConfig, values: Mapping[str, Any]) -> FineTuneSettings:
    """The configuration's fine-tuning settings with searched values in place.

    Raises:
        pydantic.ValidationError: a value is not possible.
    """
    content = config.settings("prefine").model_dump()
    for key, value in values.items():
        section = content["advanced"] if key.startswith(_ADVANCED) else content
        section[key.removeprefix(_ADVANCED)] = value
    return FineTuneSettings(**content)


def is_search_file(path: Path) -> bool:
    """Whether a configuration file is of a search."""
    try:
        content = parse_yaml(path.read_text())
    except (OSError, ValueError):
        return False  # what is wrong is said by who loads it
    return isinstance(content, dict) and "search" in content


def load_search_config(path: str | Path, overrides: dict[str, Any] | None = None) -> SearchConfig:
    """Reads the configuration file of a search.

    Raises:
        ConfigError: naming the file, the key and what would be right.
    """
    return load_config_as(SearchConfig, path, overrides)

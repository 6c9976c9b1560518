"""The configuration of a hyperparameter search: a sweep's, with a `search` section that says what to vary.

A search looks for one setting of the hyperparameters. Tasks, kinds of preferred trajectories, numbers of them,
thresholds and wrong labels make its problems: each trial tries one setting on all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prefine_ray.experiment.axes import axes
from prefine_ray.experiment.config import Seed, SweepConfig, counted_from, has_key, load_config_as
from prefine_ray.experiment.search_space import (
    AXES,
    COUNTERFACTUALS,
    RULE,
    SHARE,
    WEIGHT,
    Dimension,
    Range,
    checked_space,
    ends,
    own_value,
    sweep_of,
)
from prefine_ray.methods.registry import get_method
from prefine_ray.rollouts.collection import DataConfig
from prefine_ray.tasks.spec import get_task

# Seeds of replicates and of data from here on are a search's: sweeps report replicates from 0 on and pick weights on
# those from 1000 on. So what a search has seen is in no table.
FIRST_SEARCH_SEED = 2000
_OF_A_SETTING = ("weights", "selection", "counterfactuals", "finetune")  # keys that are the same for all tasks


class SearchSettings(BaseModel):
    """What is searched, how long, and when a trial that does badly is cut short."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Keys of `finetune`, weight, selection.rule, selection.share and counterfactuals, each with a Dimension.
    space: dict[str, Any]
    start: dict[str, Any] | None = None  # a value for every key of the space: trial 0, which the best is compared with
    trials: Annotated[int, Field(gt=0)] = 32  # settings that are tried
    # Trials of one round are suggested from the results of earlier rounds only: the suggestions are then the same
    # on any cluster and after any interruption. At least as many as can run at once.
    round: Annotated[int, Field(gt=0)] = 4
    # asha: of one task, a trial is ended at rungs of gradient steps; tasks: at rungs of tasks, in the order of `tasks`,
    # so that a setting that is hopeless on the first ones is not run on the others; null: every trial runs in full.
    early_stopping: Literal["asha", "tasks"] | None = None
    first_rung: Annotated[int, Field(gt=0)] = 100  # gradient steps, or tasks, before the first decision
    # The top 1/factor continues from each rung; the next one is `reduction_factor` times as far.
    reduction_factor: Annotated[int, Field(gt=1)] = 3

    @field_validator("space", mode="after")
    @classmethod
    def _dimensions(cls, space: dict[str, Any]) -> dict[str, Dimension]:
        return checked_space(space)

    @model_validator(mode="after")
    def _start_is_in_the_space(self) -> SearchSettings:
        if self.start is None:
            return self
        if odd := {*self.start} ^ {*self.space}:
            raise ValueError(
                f"start: give a value for every key of the space and for no other: {', '.join(sorted(odd))}"
            )
        for key, value in self.start.items():
            if value not in self.space[key]:
                raise ValueError(f"start.{key}: {value!r} is not in the space")
        return self


class SearchConfig(SweepConfig):
    """A hyperparameter search; a trial has one pack of cells per task, for its problems and the tuning seeds."""

    seeds: Annotated[tuple[Seed, ...], counted_from(0)] = ()  # none: a search reports nothing
    # Every trial runs on these replicates; a number n stands for 2000 to 2000 + n - 1.
    tuning_seeds: Annotated[tuple[Seed, ...], counted_from(FIRST_SEARCH_SEED)] = ()
    data: DataConfig = DataConfig(seed=FIRST_SEARCH_SEED)
    search: SearchSettings

    @model_validator(mode="before")
    @classmethod
    def _own_data(cls, content: Any) -> Any:
        """Data of its own, also where the file says something else of them."""
        if isinstance(content, dict) and isinstance(content.get("data"), dict):
            return {**content, "data": {"seed": FIRST_SEARCH_SEED, **content["data"]}}
        return content

    @model_validator(mode="after")
    def _one_setting(self) -> SearchConfig:
        if self.methods != ("prefine",):
            raise ValueError("methods: a search is for prefine")
        if self.evaluation.conditions:
            raise ValueError("evaluation.conditions: a search has none; give them in the sweep of the setting it finds")
        for name in {*AXES} & {*get_method("prefine").axes}:
            if name != WEIGHT and len(self.axis_values(name, self.tasks[0])) != 1:
                key = axes()[name].key
                raise ValueError(
                    f"{key}: a search has one setting at a time: give one value, or several in search.space"
                )
        if WEIGHT not in self.search.space and len(self.fixed_weights) != 1:
            raise ValueError("search.space.weight: give a range here, or exactly one weight above 0 in weights")
        for task, content in self.task_settings.items():
            if own := {*content} & {*_OF_A_SETTING}:
                raise ValueError(f"task_settings.{task}.{min(own)}: a search looks for one setting for all tasks")
        return self

    @model_validator(mode="after")
    def _is_evaluated(self) -> SearchConfig:
        if without := [name for name in self.tasks if not get_task(name).has_environment]:
            raise ValueError(f"tasks: a search compares evaluation episodes, and {without[0]} has no environment")
        return self

    @model_validator(mode="after")
    def _shares_nothing_with_reported_results(self) -> SearchConfig:
        first = FIRST_SEARCH_SEED
        if self.seeds:
            raise ValueError("seeds: a search reports nothing; leave this out and give tuning_seeds")
        if not self.tuning_seeds:
            raise ValueError("tuning_seeds: give at least one, as in tuning_seeds: 3; trials run on these seeds")
        if early := [seed for seed in self.tuning_seeds if seed < first]:
            raise ValueError(
                f"tuning_seeds: {early} are replicates of sweeps; a search's start at {first}, as in tuning_seeds: 3"
            )
        of_tasks = [content["data"] for content in self.task_settings.values() if "data" in content]
        if any(seed < first for seed in (self.data.seed, *(data.get("seed", first) for data in of_tasks))):
            raise ValueError(f"data.seed: data of sweeps; a search's have seeds of at least {first} (the default)")
        return self

    @model_validator(mode="after")
    def _every_corner_is_valid(self) -> SearchConfig:
        for key, dimension in self.search.space.items():
            for value in ends(dimension):
                if key == WEIGHT and (isinstance(value, str) or not 0 <= value < float("inf")):
                    raise ValueError(f"search.space.weight: weights are finite and at least 0 (got {value!r})")
                try:
                    sweep_of(self, {RULE: "likely", key: value} if key == SHARE else {key: value})
                except ValidationError as error:
                    message = error.errors()[0]["msg"].removeprefix("Value error, ")
                    raise ValueError(f"search.space.{key}: {message} (got {value!r})") from error
            if isinstance(dimension, Range) and not isinstance(own_value(self, key), int | float):
                raise ValueError(f"search.space.{key}: names, not numbers: give a list of values")
        if SHARE in self.search.space and {"none"} == {*self.search.space.get(RULE, [own_value(self, RULE)])}:
            raise ValueError("search.space.selection.share: the rule is none; give another, or several to choose from")
        return self

    @model_validator(mode="after")
    def _rungs_are_reached(self) -> SearchConfig:
        first, tasks = self.search.first_rung, len(self.tasks)
        if self.search.early_stopping == "tasks" and first >= tasks > 1:
            raise ValueError(
                f"search.first_rung: must be below the number of tasks, {tasks}, for early_stopping: tasks"
            )
        if self.search.early_stopping != "asha":
            return self
        if tasks > 1:
            raise ValueError("search.early_stopping: asha is for one task; with several give tasks")
        if "steps" in self.search.space:
            raise ValueError("search.space.steps: early stopping chooses the steps; leave them out of the space")
        if first >= self.settings("prefine").steps:
            raise ValueError(f"search.first_rung: must be below finetune.steps, {self.settings('prefine').steps}")
        if self.needs_counterfactual_actors and first % own_value(self, "advanced.refresh_every"):
            raise ValueError(
                "search.first_rung: must be a multiple of finetune.advanced.refresh_every with counterfactual actors"
            )
        return self

    @property
    def fixed_weights(self) -> tuple[float, ...]:
        """The weights above 0 of the `weights` key."""
        return tuple(weight for weight in self.axis_values(WEIGHT, self.tasks[0]) if weight > 0)

    @property
    def needs_counterfactual_actors(self) -> bool:
        """Whether actors make counterfactuals for any trial."""
        searched = self.search.space.get(COUNTERFACTUALS, ())
        return bool({*searched} & {*get_method("prefine").modes}) or super().needs_counterfactual_actors


def is_search_file(path: Path) -> bool:
    """Whether a configuration file is of a search."""
    return has_key(path, "search")


def load_search_config(path: str | Path, overrides: dict[str, Any] | None = None) -> SearchConfig:
    """Reads the configuration file of a search.

    Raises:
        ConfigError: naming the file, the key and what would be right.
    """
    return load_config_as(SearchConfig, path, overrides)

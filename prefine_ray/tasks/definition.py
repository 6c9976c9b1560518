"""The definition of an own task: the plain values that a configuration holds, and that travel to every worker."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.paths import expand
from prefine_ray.core.settings import OneOrSeveral, Positive, Section

NO_ENVIRONMENT = "none"  # the value of `env` of a task that has data alone
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"  # of a task: it stands in file names


class OwnTaskError(PrefineError, ValueError):
    """An own task cannot be used as it is defined; the message names the task, what is wrong and the remedy."""


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(values))


def _in_order(limits: Any) -> Any:
    if isinstance(limits, tuple) and not limits[0] < limits[1]:
        raise ValueError(f"[low, high] with low < high is needed, got {list(limits)}")
    return limits


def _environment(value: Any) -> Any:
    return NO_ENVIRONMENT if value is None else value


Limit = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class TaskDefinition(Section):
    """An environment with a cost, and the constants that its scores are normalised with.

    `observations`, `actions` and `code` are found out where there is an environment; only a task without one states the
    first two.
    """

    # A gymnasium id ("Line-v0", "my_pkg:Line-v0" imports my_pkg first), a factory ("my_pkg.envs:make_line") that takes
    # nothing or `render_mode`, or none: data alone, nothing can be rolled out.
    env: Annotated[str, BeforeValidator(_environment), Field(min_length=1)]
    # Limits on the episode cost.
    thresholds: Annotated[OneOrSeveral[Limit], AfterValidator(_ascending)]
    # The returns that are normalised to 0 and 1; data: the lowest and the highest return of the file in data.source.
    reward_range: Annotated[Literal["data"] | tuple[Finite, Finite], AfterValidator(_in_order)]
    # Steps after which an episode is truncated; null: the environment's own limit.
    horizon: Positive | None = None
    # Where in `info` the cost of a step is. Not read where `step` gives six values, as Safety-Gymnasium's does.
    cost_key: Annotated[str, Field(min_length=1)] = "cost"
    # Where modules are imported from beside the installed packages; relative to the working directory.
    folder: Annotated[str, AfterValidator(lambda text: os.path.abspath(expand(text)))] = Field(
        default=".", validate_default=True
    )
    # Raise it when the environment changes in a way that `code` cannot see, e.g. in a module that it imports.
    version: str = ""
    observations: Positive | None = None  # numbers in a flattened observation
    actions: Positive | None = None  # numbers in an action
    code: str = ""  # digest of the source file of the environment's class
    reward_from_data: bool = False  # whether `reward_range` was read from data

    @model_validator(mode="after")
    def _whole(self) -> TaskDefinition:
        if not self.has_environment:
            for key in ("observations", "actions", "horizon"):
                if getattr(self, key) is None:
                    raise ValueError(f"{key} is needed where env is none: there is no environment to ask")
        return self

    @property
    def has_environment(self) -> bool:
        """Whether anything can be rolled out."""
        return self.env != NO_ENVIRONMENT

    def determinants(self) -> dict[str, Any]:
        """What results and data depend on, as plain values: all but where the modules lie."""
        return self.model_dump(mode="json", exclude={"folder"})

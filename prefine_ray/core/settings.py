"""What the sections of a configuration are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Item = TypeVar("Item")

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _once(values: tuple[Item, ...]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(values))


# An axis of the grid: one value, or a list of several.
OneOrSeveral = Annotated[tuple[Item, ...], BeforeValidator(_listed), AfterValidator(_once), Field(min_length=1)]


class Section(BaseModel):
    """A section of a configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Advanced(Section):
    """Settings of a method that hardly anybody changes."""

    log_every: Positive = 500  # gradient steps between two points of the learning curves
    checkpoint_every: Positive = 10_000  # gradient steps between two checkpoints of the Train worker


class MethodSettings(Section):
    """What the settings of every method hold."""

    steps: Positive  # gradient steps
    batch_size: Positive  # draws per step; what is drawn depends on the method
    learning_rate: PositiveFloat  # of Adam
    advanced: Advanced

    @property
    def log_every(self) -> int:
        """Gradient steps between two points of the learning curves."""
        return self.advanced.log_every

    @property
    def checkpoint_every(self) -> int:
        """Gradient steps between two checkpoints of the Train worker."""
        return self.advanced.checkpoint_every

    @property
    def least_steps(self) -> int:
        """Steps that a trajectory must have to be trained on."""
        return 1

    def determinants(self) -> dict[str, Any]:
        """What a result depends on, as plain values."""
        return self.model_dump(mode="json", exclude={"advanced": {"log_every", "checkpoint_every"}})


_LARGEST = 2**63 - 1  # whole numbers that files and simulators hold


def odd_numbers(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The keys (with dots) and values of a nested content that are NaN, infinite, or too large to be kept."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from odd_numbers(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list | tuple):
        for value in content:
            yield from odd_numbers(value, key)
    elif (isinstance(content, float) and not math.isfinite(content)) or (
        isinstance(content, int) and abs(content) > _LARGEST
    ):
        yield key, content

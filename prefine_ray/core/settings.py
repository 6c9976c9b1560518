"""What the sections of a configuration are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Exponent = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section of a configuration: immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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

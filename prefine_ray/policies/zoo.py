"""The shipped policies: behaviours, base and fine-tuned ones of each task."""

from __future__ import annotations

from pathlib import Path

ZOO = Path(__file__).parents[1] / "zoo"

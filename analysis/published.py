"""The published scores that stand beside ours (means over DSRL's data sets and thresholds)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import pandas as pd

NAN = float("nan")


@lru_cache
def published_results() -> pd.DataFrame:
    """Columns method, task, normalized_reward, normalized_cost (NaN where none was published) and source.

    TraC: arXiv 2412.15429, which also lists the other baselines; PREFINE: arXiv 2605.21225.
    """
    return pd.read_csv(Path(__file__).with_name("published_results.csv"))


@lru_cache
def published_name(method: str) -> str | None:
    """The published name of one of our methods ("prefine" -> "PREFINE"), None where nothing was published."""
    names = {name.casefold(): name for name in published_results()["method"].unique()}
    return names.get(method.casefold().replace("_", "-"))


def published_scores(method: str | None, tasks: Iterable[str]) -> tuple[float, float]:
    """(normalised reward, normalised cost) of a published method, averaged over tasks; NaN where one is missing."""
    return _scores(method, tuple(tasks))


@lru_cache
def _scores(method: str | None, wanted: tuple[str, ...]) -> tuple[float, float]:
    rows = published_results()
    found = rows[(rows["method"] == method) & rows["task"].isin(wanted)]
    if not wanted or len(found) < len(wanted):
        return NAN, NAN
    return (
        float(found["normalized_reward"].mean(skipna=False)),
        float(found["normalized_cost"].mean(skipna=False)),
    )

"""Preferred and dispreferred trajectories: by a cost threshold, or by labels from a file."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prefine_ray.episode_table import EpisodeTable, cost_histogram

NUM_PREFERRED = 100  # the method's set sizes
NUM_DISPREFERRED = 20
_LABELS = {"preferred": "preferred", "1": "preferred", "dispreferred": "dispreferred", "0": "dispreferred"}


class NotEnoughTrajectoriesError(ValueError):
    """A side of the split has too few trajectories; the message has the costs and the thresholds that work."""


class LabelFileError(ValueError):
    """A file of labels cannot be used; the message names file and line or key, and what would be right."""


@dataclass(frozen=True)
class PreferenceSets:
    """Numbers of episodes in one data set, ascending; no episode is on both sides."""

    preferred: NDArray[np.int64]  # [N_p]
    dispreferred: NDArray[np.int64]  # [N_np]


def split_by_threshold(
    summary: EpisodeTable,
    threshold: float,
    *,
    preferred: Literal["best", "random"] = "best",
    num_preferred: int = NUM_PREFERRED,
    num_dispreferred: int = NUM_DISPREFERRED,
    rng: np.random.Generator,
    label_noise: float = 0.0,
    margin: float = 1.0,
) -> PreferenceSets:
    """Draws preferred trajectories among the safe ones and dispreferred ones among those over the threshold.

    Safe means cost <= margin * threshold: with a margin below 1 trajectories just under the threshold are on neither
    side. A policy scatters around what it imitates, so that one cloned from trajectories that use the whole threshold
    is over it half of the time.

    Preferred are the highest returns ("best"; the earlier episode wins a tie) or a uniform draw ("random").
    Dispreferred are a uniform draw over all unsafe trajectories, not the costliest ones, so that behaviour
    just over the threshold is among them (our choice; the costliest were not compared).

    `label_noise` is the fraction of wrong labels on each side. The sets are drawn as without noise, then
    k = round(label_noise * N) uniformly drawn members of each side (N its size, halves rounded up) are
    replaced by trajectories of the wrong kind: unsafe ones among the preferred, safe ones among the
    dispreferred, each drawn uniformly from those that the other side does not keep. So the sizes stay, the
    fraction of wrong labels is exact, and with the same `rng` state the other members are those without noise.

    Raises:
        NotEnoughTrajectoriesError: a side has too few trajectories.
        ValueError: `preferred` is neither word, a size is below 1, or the label noise outside [0, 1].
    """
    if preferred not in ("best", "random"):
        raise ValueError(f"preferred must be 'best' or 'random', not {preferred!r}")
    if min(num_preferred, num_dispreferred) < 1:
        raise ValueError(f"num_preferred and num_dispreferred must be at least 1: {num_preferred}, {num_dispreferred}")
    if not 0.0 <= label_noise <= 1.0:
        raise ValueError(f"label_noise is a fraction from 0 to 1, not {label_noise}")
    if not 0.0 <= margin <= 1.0:
        raise ValueError(f"margin is a fraction of the threshold from 0 to 1, not {margin}")
    wrong_preferred, wrong_dispreferred = (_round(label_noise * n) for n in (num_preferred, num_dispreferred))
    need_safe = num_preferred + max(0, wrong_dispreferred - wrong_preferred)
    need_unsafe = num_dispreferred + max(0, wrong_preferred - wrong_dispreferred)
    safe, unsafe = np.flatnonzero(summary.costs <= margin * threshold), np.flatnonzero(summary.costs > threshold)
    if len(safe) < need_safe or len(unsafe) < need_unsafe:
        raise NotEnoughTrajectoriesError(_not_enough(summary.costs, threshold, margin, need_safe, need_unsafe))

    if preferred == "best":
        chosen_safe = safe[np.argsort(-summary.returns[safe], kind="stable")[:num_preferred]]
    else:
        chosen_safe = rng.choice(safe, num_preferred, replace=False)
    chosen_unsafe = rng.choice(unsafe, num_dispreferred, replace=False)
    kept_safe = rng.choice(chosen_safe, num_preferred - wrong_preferred, replace=False)
    kept_unsafe = rng.choice(chosen_unsafe, num_dispreferred - wrong_dispreferred, replace=False)
    wrongly_preferred = rng.choice(np.setdiff1d(unsafe, kept_unsafe), wrong_preferred, replace=False)
    wrongly_dispreferred = rng.choice(np.setdiff1d(safe, kept_safe), wrong_dispreferred, replace=False)
    return PreferenceSets(
        preferred=np.sort(np.concatenate([kept_safe, wrongly_preferred])),
        dispreferred=np.sort(np.concatenate([kept_unsafe, wrongly_dispreferred])),
    )


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _not_enough(costs: NDArray[np.float64], threshold: float, margin: float, need_safe: int, need_unsafe: int) -> str:
    limit = "threshold" if margin == 1.0 else f"{margin:g} * threshold"
    return (
        f"threshold {threshold:g}: {need_safe} safe trajectories (cost <= {limit}) and {need_unsafe} unsafe ones are "
        f"needed, the data has {(costs <= margin * threshold).sum()} and {(costs > threshold).sum()}.\n"
        f"{_thresholds_that_work(costs, margin, need_safe, need_unsafe)}\n"
        f"Costs of the {len(costs)} trajectories:\n{cost_histogram(costs)}"
    )


def _thresholds_that_work(costs: NDArray[np.float64], margin: float, need_safe: int, need_unsafe: int) -> str:
    if need_safe + need_unsafe <= len(costs) and margin > 0:
        ordered = np.sort(costs)
        low, above = ordered[need_safe - 1] / margin, ordered[len(costs) - need_unsafe]
        if low < above:
            return f"Thresholds that work: at least {low:.9g} and below {above:.9g}."
        tied = f"too many trajectories cost {low * margin:.9g}"
        return f"No threshold works for these sizes ({tied}): ask for fewer trajectories."
    return f"No threshold works for these sizes: the data has {len(costs)} trajectories; ask for fewer."


def read_labels(path: str | Path, num_episodes: int) -> PreferenceSets:
    """Reads labels for a data set of `num_episodes` trajectories, numbered from 0.

    The file is CSV with the columns trajectory,label (preferred or 1, dispreferred or 0; other columns are
    passed by), or JSON: {"preferred": [numbers], "dispreferred": [numbers]}. Not all trajectories need a label.

    Raises:
        LabelFileError: no such file, another form, an unknown label, a number out of range or labelled twice,
            or a side without trajectories.
    """
    path = Path(path)
    readers = {".csv": _csv_labels, ".json": _json_labels}
    if path.suffix.lower() not in readers:
        raise LabelFileError(f"{path}: labels are read from .csv or .json files")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelFileError(f"{path}: cannot be read as text ({error})") from error
    sides: dict[str, list[int]] = {"preferred": [], "dispreferred": []}
    seen: dict[int, str] = {}
    try:
        for where, number, side in readers[path.suffix.lower()](text):
            if not 0 <= number < num_episodes:
                raise LabelFileError(f"{where}: trajectory {number}; the data has trajectories 0 to {num_episodes - 1}")
            if number in seen:
                raise LabelFileError(f"{where}: trajectory {number} has a label already, {seen[number]}; label it once")
            seen[number] = f"{side} in {where}"
            sides[side].append(number)
        if empty := [side for side, numbers in sides.items() if not numbers]:
            raise LabelFileError(f"no {empty[0]} trajectory; at least one of each side is needed")
    except LabelFileError as error:
        raise LabelFileError(f"{path}: {error}") from None
    return PreferenceSets(**{side: np.sort(np.array(numbers, dtype=np.int64)) for side, numbers in sides.items()})


def _csv_labels(text: str) -> Iterator[tuple[str, int, str]]:
    """Yields (where, trajectory, side) of each line."""
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = rows.fieldnames or []
    if not {"trajectory", "label"} <= set(columns):
        raise LabelFileError(f"line 1: the columns must be trajectory,label, not {','.join(columns) or 'nothing'}")
    for row in rows:
        where = f"line {rows.line_num}"
        number, label = (row["trajectory"] or "").strip(), (row["label"] or "").strip().lower()
        if not number.isdecimal():
            raise LabelFileError(f"{where}: trajectory {number!r}; a whole number from 0 is needed")
        if label not in _LABELS:
            raise LabelFileError(f"{where}: label {label!r}; it must be one of {', '.join(_LABELS)}")
        yield where, int(number), _LABELS[label]


def _json_labels(text: str) -> Iterator[tuple[str, int, str]]:
    """Yields (where, trajectory, side) of each entry."""
    form = '{"preferred": [numbers], "dispreferred": [numbers]}'
    try:
        content: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise LabelFileError(f"line {error.lineno}: not JSON ({error.msg}); {form} is needed") from error
    if not isinstance(content, dict) or set(content) != {"preferred", "dispreferred"}:
        found = f"the keys {', '.join(map(repr, content))}" if isinstance(content, dict) else type(content).__name__
        raise LabelFileError(f"found {found}; {form} is needed")
    for side, numbers in content.items():
        if not isinstance(numbers, list):
            raise LabelFileError(f"key {side!r}: a list of trajectory numbers is needed, not {numbers!r}")
        for place, number in enumerate(numbers):
            where = f"key {side!r}, entry {place}"
            if type(number) is not int:
                raise LabelFileError(f"{where}: {number!r}; a whole number from 0 is needed")
            yield where, number, side

"""Replicates: which data set, which of its episodes and which base policy each seed has.

A replicate is everything that could have come out otherwise: its draw of the data, its base policy, its preferences,
its training and its evaluation episodes. `data.draws` says how the data are drawn; tuning replicates never share
episodes with reported ones, unless all share one set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from prefine_ray.core.digests import digest
from prefine_ray.core.seeding import derive, numpy_generator
from prefine_ray.rollouts.collection import DataConfig, Draws
from prefine_ray.tasks.definition import TaskDefinition

DRAW_SHARE = 2 / 3  # of a set, to each replicate whose draws overlap
REPORTED, TUNING = "reported", "tuning"  # what a set of overlapping draws is for


@dataclass(frozen=True)
class ReplicateInputs:
    """What a replicate's cells start from: files, hashes of their content, and which episodes of the data."""

    data_path: str
    data_digest: str
    base_path: str
    base_digest: str
    episodes: tuple[int, ...] | None = None  # numbers of the replicate's episodes in the file, ascending; None: all

    @property
    def drawn_digest(self) -> str:
        """Names the episodes: the data set's own hash where they are all of it."""
        return self.data_digest if self.episodes is None else digest([self.data_digest, self.episodes])


@dataclass(frozen=True)
class TaskInputs:
    """What the cells of one task start from, by replicate."""

    replicates: Mapping[int, ReplicateInputs] = field(default_factory=dict)  # by seed
    common: ReplicateInputs | None = None  # of every seed that has none of its own
    draws: Draws = "shared"
    own_base: bool = False  # whether each replicate has a base policy of its own
    definitions: Mapping[str, TaskDefinition] = field(default_factory=dict)  # the task's, where it is an own one

    def of(self, seed: int) -> ReplicateInputs:
        """The inputs of one replicate.

        Raises:
            KeyError: the seed has none.
        """
        found = self.replicates.get(seed, self.common)
        if found is None:
            raise KeyError(f"no inputs for seed {seed}; there are those of {sorted(self.replicates)}")
        return found

    @property
    def data_paths(self) -> list[str]:
        """Every data file, once."""
        return list(dict.fromkeys(one.data_path for one in self._everything))

    @property
    def files(self) -> list[str]:
        """Every data and policy file, once."""
        return [*self.data_paths, *dict.fromkeys(one.base_path for one in self._everything)]

    @property
    def _everything(self) -> list[ReplicateInputs]:
        return [*self.replicates.values(), *([self.common] if self.common else [])]


def shared_inputs(
    data_path: str,
    data_digest: str,
    base_path: str,
    base_digest: str,
    definitions: Mapping[str, TaskDefinition] | None = None,
) -> TaskInputs:
    """One data set and one base policy for all replicates."""
    common = ReplicateInputs(data_path, data_digest, base_path, base_digest)
    return TaskInputs(common=common, definitions=definitions or {})


def recipes(data: DataConfig, seeds: Sequence[int], tuning_seeds: Sequence[int]) -> dict[int, DataConfig]:
    """The recipe of the data set that each replicate's episodes come from, where data are rolled out.

    Own draws: a set of its own for each; overlapping: one for the reported and one for the tuning replicates.
    """
    if data.draws == "shared":
        return dict.fromkeys((*seeds, *tuning_seeds), data)
    if data.draws == "own":
        return {seed: replace_seed(data, derive(data.seed, "replicate", seed)) for seed in (*seeds, *tuning_seeds)}
    tuning = replace_seed(data, derive(data.seed, TUNING))
    return {**dict.fromkeys(seeds, data), **dict.fromkeys(tuning_seeds, tuning)}


def replace_seed(data: DataConfig, seed: int) -> DataConfig:
    """The same recipe with other rollouts."""
    return data.model_copy(update={"seed": seed})


def draw_from_set(data: DataConfig, task: str, seed: int, total: int) -> tuple[int, ...] | None:
    """The episodes of one replicate among the `total` of a set that was rolled out for it; None: all."""
    if data.draws != "overlapping":
        return None
    return _drawn(data, task, seed, np.arange(total))


def draws_from_file(
    data: DataConfig, task: str, total: int, seeds: Sequence[int], tuning_seeds: Sequence[int]
) -> dict[int, tuple[int, ...] | None]:
    """The episodes of each replicate among the `total` of one given file; None: all.

    Own draws: parts of `data.episodes` episodes, or of an equal share where there are fewer; reported replicates take
    theirs from one end and tuning replicates from the other, so that more seeds leave the parts of others as they are.
    Overlapping: each draws from one half of them, or from all where there are no tuning replicates.
    """
    everyone = (*seeds, *tuning_seeds)
    if data.draws == "shared":
        return dict.fromkeys(everyone)
    shuffled = numpy_generator(data.seed, task, "deal").permutation(total)
    if data.draws == "own":
        size = min(data.episodes, total // len(everyone))
        ends = ((seeds, shuffled), (tuning_seeds, shuffled[::-1]))
        dealt = [(seed, end[size * place : size * (place + 1)]) for of, end in ends for place, seed in enumerate(of)]
        return {seed: _numbers(part) for seed, part in dealt}
    middle = total // 2 if tuning_seeds else total
    halves = {**dict.fromkeys(seeds, shuffled[:middle]), **dict.fromkeys(tuning_seeds, shuffled[middle:])}
    return {seed: _drawn(data, task, seed, np.sort(half)) for seed, half in halves.items()}


def _drawn(data: DataConfig, task: str, seed: int, numbers: np.ndarray) -> tuple[int, ...]:
    generator = numpy_generator(data.seed, task, seed, "draw")
    return _numbers(generator.choice(numbers, max(1, round(DRAW_SHARE * len(numbers))), replace=False))


def _numbers(part: np.ndarray) -> tuple[int, ...]:
    return tuple(int(number) for number in np.sort(part))

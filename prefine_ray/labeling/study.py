"""A study with simulated raters: how many answers make a policy safe. One row per policy, and files that resume.

The cells of a task that have the same use and number of answers are a pack, which trains as one population: all orders,
errors and replicates. A finished pack is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from prefine_ray.core.digests import digest
from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.provenance import made_with, physics
from prefine_ray.core.seeding import derive
from prefine_ray.core.tables import read_table, write_table
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.hdf5 import read_dsrl, read_summary, write_dsrl
from prefine_ray.data.preferences import PreferenceSets
from prefine_ray.data.trajectories import Trajectories, concatenate
from prefine_ray.experiment.cells import RESULT_VERSION
from prefine_ray.experiment.job import member
from prefine_ray.experiment.replicates import draw_from_set, recipes
from prefine_ray.labeling.active import features
from prefine_ray.labeling.answers import Answer
from prefine_ray.labeling.simulated import (
    KIND_OF,
    Order,
    SimulatedRater,
    Use,
    agreement_with_truth,
    ask,
    sides_of,
)
from prefine_ray.labeling.study_config import StudyConfig
from prefine_ray.methods.base import clone_base, clone_name
from prefine_ray.methods.population import Member
from prefine_ray.methods.registry import LearnerInputs, get_method
from prefine_ray.methods.selection import select_preferred
from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.policies.gaussian import GaussianPolicy, stack
from prefine_ray.rollouts.collection import behaviours, make_data_set_here, recipe_digest
from prefine_ray.rollouts.evaluation import evaluate, evaluation_seeds
from prefine_ray.rollouts.rollout import rollout_copies
from prefine_ray.rollouts.scores import episode_scores, score_means
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import Task, get_task

BASE = "base"  # in the place of a use: the base policy, which no answer has changed
_GRID = ("tasks", "uses", "answers")  # keys that say which packs there are, and change none
_METHODS: dict[Use, str] = {"labels": "prefine", "pairs_as_sides": "prefine", "pairs": "prefine_pairs"}


@dataclass(frozen=True)
class Pack:
    """The cells of a task with the same use and number of answers; or its base policies, with 0 answers."""

    task: str
    use: Use | None  # None: base policies
    answers: int


@dataclass(frozen=True)
class Replicate:
    """What the cells of one replicate start from."""

    number: int
    trajectories: Trajectories
    base: GaussianPolicy

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """The features that questions are chosen by, [E, F]."""
        return features(self.trajectories)


@dataclass(frozen=True)
class Judged:
    """One cell of a pack: a rater's answers, and the sides that come of them (None: they leave one empty)."""

    order: Order
    error: float
    replicate: Replicate
    agreement: float
    sides: PreferenceSets | None


def packs(config: StudyConfig) -> list[Pack]:
    """Every pack of the study, task by task."""
    grid = [(use, count) for use, count in product(config.uses, config.answers)]
    return [Pack(task, use, count) for task in config.tasks for use, count in [(None, 0), *grid]]


def part_path(config: StudyConfig, pack: Pack, folder: Path) -> Path:
    """Where the rows of a pack are kept; the name holds what they depend on, but for the physics of another machine."""
    settings = config.model_dump(mode="json", exclude={*_GRID})
    name = digest([RESULT_VERSION, settings, asdict(pack), physics(get_task(pack.task).suite)])
    return folder / "parts" / f"{pack.task}-{pack.use or BASE}-{pack.answers}-{name}.parquet"


def finished_rows(config: StudyConfig, pack: Pack, folder: Path) -> pd.DataFrame | None:
    """The rows of a pack; None where they are not there, or damaged."""
    try:
        return read_table(part_path(config, pack, folder))
    except (DamagedFileError, FileNotFoundError):
        return None


def run_study(config: StudyConfig, folder: Path) -> Iterator[Pack]:
    """Runs every pack that is not finished, and gives it when its rows are on the disk.

    Args:
        config: of the study.
        folder: of the results; data sets, base policies and the rows of packs are kept in it.

    Raises:
        NoBehavioursError: no behaviours of a task are shipped.
    """
    for task in config.tasks:
        waiting = [p for p in packs(config) if p.task == task and finished_rows(config, p, folder) is None]
        if not waiting:
            continue
        study = TaskStudy(config, get_task(task), folder)
        with closing(VectorStepper(task, study.at_once * config.evaluation_episodes)) as stepper:
            for pack in waiting:
                write_table(part_path(config, pack, folder), pd.DataFrame(study.rows(pack, stepper)))
                yield pack


def all_rows(config: StudyConfig, folder: Path) -> pd.DataFrame:
    """The rows of all finished packs, in the order of the grid."""
    found = [rows for pack in packs(config) if (rows := finished_rows(config, pack, folder)) is not None]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


class TaskStudy:
    """One task of a study: its replicates, and what raters answer about their data."""

    def __init__(self, config: StudyConfig, task: Task, folder: Path):
        self.config, self.task = config, task
        self.replicates = [make_replicate(config, task, number, folder) for number in range(config.replicates)]
        self._answers: dict[tuple[Any, ...], list[Answer]] = {}

    @property
    def at_once(self) -> int:
        """How many policies are evaluated in one batch."""
        return max(1, rollout_copies(self.task.name) // self.config.evaluation_episodes)

    def rows(self, pack: Pack, stepper: VectorStepper) -> list[dict[str, Any]]:
        """Trains and evaluates the policies of a pack; one row for each.

        Args:
            pack: of this task.
            stepper: with copies for the episodes of `at_once` policies.
        """
        if pack.use is None:
            tables = self._evaluated([one.base for one in self.replicates], self.replicates, stepper)
            both = zip(self.replicates, tables, strict=True)
            return [self._row(pack, one, table, {}) for one, table in both]
        cells = [
            self._judged(pack.use, pack.answers, *point)
            for point in product(self.config.orders, self.config.errors, self.replicates)
        ]
        tables = self._evaluated(self._trained(pack.use, cells), [cell.replicate for cell in cells], stepper)
        return [
            self._row(pack, cell.replicate, table, self._judgement(cell))
            for cell, table in zip(cells, tables, strict=True)
        ]

    # ------------------------------------------------------------------ answers

    def _rater(self, error: float, replicate: Replicate) -> SimulatedRater:
        limit = self.config.margin * self.task.middle_threshold
        seed = derive(self.config.seed, self.task.name, replicate.number, "raters")
        return SimulatedRater(replicate.trajectories.episode_costs, limit, error, seed)

    def _asked(self, use: Use, order: Order, error: float, replicate: Replicate) -> list[Answer]:
        """The answers to the largest number of questions; fewer questions are the first ones of these."""
        key = (KIND_OF[use], order, error, replicate.number)
        if key not in self._answers:
            seed = derive(self.config.seed, self.task.name, replicate.number, "questions")
            count = max(self.config.answers)
            rater = self._rater(error, replicate)
            self._answers[key] = ask(rater, KIND_OF[use], order, replicate.table, count, seed)
        return self._answers[key]

    def _judged(self, use: Use, count: int, order: Order, error: float, replicate: Replicate) -> Judged:
        answers = self._asked(use, order, error, replicate)[:count]
        right = agreement_with_truth(self._rater(error, replicate), answers)
        return Judged(order, error, replicate, right, sides_of(answers, use, len(replicate.trajectories)))

    def _judgement(self, cell: Judged) -> dict[str, Any]:
        """The columns of a row that say what was answered: how much is right, and of the preferred ones is safe."""
        costs, sides = cell.replicate.trajectories.episode_costs, cell.sides
        safe = np.nan if sides is None else float((costs[sides.preferred] <= self.task.middle_threshold).mean())
        return {
            "order": cell.order,
            "error_rate": cell.error,
            "agreement": cell.agreement,
            "trained": sides is not None,
            "num_preferred": 0 if sides is None else len(sides.preferred),
            "num_dispreferred": 0 if sides is None else len(sides.dispreferred),
            "preferred_safe": safe,
        }

    # ------------------------------------------------------------------ policies

    def _trained(self, use: Use, cells: Sequence[Judged]) -> list[GaussianPolicy]:
        """The policy of each cell; where answers leave a side empty, the base policy as it is."""
        trained = [index for index, cell in enumerate(cells) if cell.sides is not None]
        bounds = (self.config.finetune.log_std_min, self.config.base.log_std_bounds[1])  # as trained ones have
        policies = [cell.replicate.base.with_log_std_bounds(bounds) for cell in cells]
        if trained:
            population = self._population(use, [cells[index] for index in trained])
            for place, index in enumerate(trained):
                policies[index] = population.select(place)
        return policies

    def _population(self, use: Use, cells: Sequence[Judged]) -> GaussianPolicy:
        trajectories = concatenate([one.trajectories for one in self.replicates])
        bases = stack([one.base for one in self.replicates])
        members = [self._member(cell) for cell in cells]
        if use != "pairs":
            selections = [self.config.selection] * len(members)
            members = select_preferred(trajectories, members, selections, bases, self.config.clones)
        inputs = LearnerInputs(self.task, trajectories, members, bases)
        learner = get_method(_METHODS[use]).learner(self.config.finetune, inputs)
        learner.train(self.config.finetune.steps)
        return learner.policies()

    def _member(self, cell: Judged) -> Member:
        """Its sides as numbers of the episodes of all replicates, one replicate after the other."""
        assert cell.sides is not None
        number = cell.replicate.number
        before = sum(len(one.trajectories) for one in self.replicates[:number])
        sides = PreferenceSets(before + cell.sides.preferred, before + cell.sides.dispreferred)
        made = member(
            self.task.name, number, sides, weight=self.config.weight, experiment_seed=self.config.seed, base=number
        )
        return replace(made, base=self.replicates.index(cell.replicate))

    def _evaluated(
        self, policies: Sequence[GaussianPolicy], replicates: Sequence[Replicate], stepper: VectorStepper
    ) -> list[EpisodeSummary]:
        """The evaluation episodes of each policy; the last batch is filled up with its last policy."""
        count, size, found = self.config.evaluation_episodes, self.at_once, list[EpisodeSummary]()
        for first in range(0, len(policies), size):
            chosen = [min(index, len(policies) - 1) for index in range(first, first + size)]
            numbers = [replicates[index].number for index in chosen]
            seeds = [evaluation_seeds(self.config.seed, self.task.name, number, count) for number in numbers]
            table = evaluate(stack([policies[index] for index in chosen]), stepper, np.concatenate(seeds))
            found += [table.part(place * count, (place + 1) * count) for place in range(size)]
        return found[: len(policies)]

    def _row(
        self, pack: Pack, replicate: Replicate, table: EpisodeSummary, judgement: Mapping[str, Any]
    ) -> dict[str, Any]:
        task, count = self.task, self.config.evaluation_episodes
        sums = (table.returns, table.costs, table.terminated)
        return {
            "task": task.name,
            "use": pack.use or BASE,
            "answers": pack.answers,
            "replicate": replicate.number,
            **{"order": "", "error_rate": 0.0, "agreement": np.nan, "trained": False},
            **{"num_preferred": 0, "num_dispreferred": 0},
            **{"preferred_safe": np.nan, **judgement},
            "episodes": count,
            "return": float(table.returns.mean()),
            "cost": float(table.costs.mean()),
            **score_means(episode_scores(task, task.middle_threshold, *sums)),
            **made_with(task.suite),
        }


def make_replicate(config: StudyConfig, task: Task, number: int, folder: Path) -> Replicate:
    """The episodes and the base policy of a replicate; what is in the folder is used."""
    recipe = recipes(config.data, range(config.replicates), ())[number]
    name = recipe_digest(task, recipe, behaviours(task, recipe.source))
    path = folder / "data" / f"{task.name}-{recipe.episodes}-{name}.hdf5"
    if not path.exists():
        write_dsrl(path, make_data_set_here(task, recipe), {"task": task.name, "recipe": name})
    drawn = draw_from_set(recipe, task.name, number, len(read_summary(path, task)))
    stream = derive(config.seed, "base", number)
    base = folder / "data" / clone_name(task, digest([name, drawn]), stream, config.base, "clone")
    if not base.exists():
        policy, header = clone_base(task, path, stream, config.base, episodes=drawn)
        save_policy(policy, base, header)
    return Replicate(number, read_dsrl(path, task, drawn), load_policy(base))

"""The recipe of a task's own data set: which behaviours run how many episodes, with which seeds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from prefine_ray.core.checked_json import JSONContentError, parse_json
from prefine_ray.core.digests import digest
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import read_bytes
from prefine_ray.core.paths import absolute_template, path_of
from prefine_ray.core.seeding import derive, episode_seeds
from prefine_ray.core.settings import Positive, Section
from prefine_ray.data.trajectories import Trajectories, concatenate
from prefine_ray.policies.files import load_policy_for
from prefine_ray.policies.zoo import ZOO
from prefine_ray.rollouts.rollout import RolloutUnit, run_unit
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import Task

RECIPE_VERSION = 3  # raise when a change of the code changes the data
UNIT_EPISODES = 10  # episodes per actor call, stepped together
TEMPERATURES = (1.0, 0.5, 0.0)  # of the action noise, in turn from unit to unit
SPARE = 1.25  # episodes rolled out per episode kept, since some fall outside the envelope
REWARD_MARGIN = 1.05  # normalised reward up to which episodes are kept
REWARD_BIN = 0.05  # of the normalised reward, for an even spread
SOURCES = ("zoo", "dsrl")  # values of `data.source` that are no paths
COST_SHARES = (0.4, 0.1, 0.15, 0.35)  # of episodes up to each of three thresholds, and over the last


Draws = Literal["own", "overlapping", "shared"]


class DataConfig(Section):
    """Where the trajectories come from."""

    # zoo: rolled out from the shipped behaviours; dsrl: the published files; a ladder folder of `prefine pretrain`;
    # a policy file (.safetensors), or a folder of them, to roll out; or a DSRL-schema file. In paths {task} stands for
    # the task's name; they are relative to the working directory.
    source: str = "zoo"
    episodes: Positive = 300  # per set that is rolled out; of a given file, per replicate with a part of its own
    seed: int = Field(default=0, ge=0)  # of the rollouts and the draws
    # What each replicate (seed) has of them. own: a set of its own, rolled out for it, or an equal part of a given
    # file; overlapping: a random two thirds of one set, tuning seeds of another one; shared: one set for all, so
    # that intervals do not cover the draw of the data.
    draws: Draws = "own"

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str:
        return value if value in SOURCES else absolute_template(value)


class NoBehavioursError(PrefineError, ValueError):
    """A task has no behaviour policies to collect data with."""


@dataclass(frozen=True)
class Behaviour:
    """A policy that makes data, and what it scores on average."""

    path: Path
    mean_return: float
    mean_cost: float


def behaviours(task: Task, source: str) -> list[Behaviour]:
    """The behaviours of a task that stay inside the DSRL envelope on average.

    Args:
        task: the task.
        source: "zoo", the shipped ones; the ladder folder of `prefine pretrain`; or a policy file or a folder of them,
            which are taken as they are. In paths {task} stands for the task's name.

    Raises:
        NoBehavioursError: there is no policy, or none of a ladder is inside.
        PolicyFileError: a given policy is damaged, or not for this task.
    """
    if not task.has_environment:
        raise NoBehavioursError(f"{task.name} has no environment to collect in; name a trajectory file in data.source")
    place = ZOO / task.name if source == "zoo" else path_of(source, task.name)
    manifest = place / "manifest.json"
    if not manifest.is_file() and (files := _policy_files(place)):
        for path in files:
            load_policy_for(task, path)
        return [Behaviour(path, math.nan, math.nan) for path in files]
    if not manifest.is_file() and task.definition is not None:
        raise NoBehavioursError(
            f"{task.name}: no behaviour policies in {place}; for an own task name in data.source a trajectory file, or "
            "a policy (or a folder of policies) to roll out"
        )
    if source == "zoo" and not manifest.is_file():
        raise NoBehavioursError(
            f"data.source: no behaviours of {task.name} are shipped; name dsrl (the published {task.dsrl_file}), a "
            "trajectory file, or a policy (or a folder of policies) to roll out"
        )
    if not manifest.is_file():
        raise NoBehavioursError(
            f"{manifest}: no behaviour policies for {task.name}; make them with `prefine pretrain --task {task.name}`, "
            "or name a data file"
        )
    all_of_them = _listed(manifest)
    inside = [
        b for b in all_of_them if b.mean_cost <= task.cost_max and b.mean_return <= task.reward_max * REWARD_MARGIN
    ]
    if not inside:
        raise NoBehavioursError(f"{manifest}: every policy costs more than {task.cost_max:g} or is beyond the envelope")
    return inside


def is_policy_file(path: Path) -> bool:
    """Whether a source of data is a policy, by its name."""
    return path.suffix == ".safetensors"


def _policy_files(place: Path) -> list[Path]:
    """A policy file itself, or those of a folder."""
    return [place] if is_policy_file(place) else sorted(place.glob("*.safetensors"))


def _listed(manifest: Path) -> list[Behaviour]:
    """The behaviours of a manifest, which lie beside it."""
    found = []
    try:
        for entry in parse_json(read_bytes(manifest))["policies"]:
            name, scores = entry["name"], entry["scores"]
            if Path(name).name != name:
                raise NoBehavioursError(f"{manifest}: policy {name!r}: a file name in the same folder is needed")
            found.append(Behaviour(manifest.parent / name, float(scores["return"]), float(scores["cost"])))
    except (JSONContentError, KeyError, TypeError, ValueError) as error:
        raise NoBehavioursError(f"{manifest}: not a list of policies ({error}); make it again") from error
    return found


def recipe_digest(task: Task, config: DataConfig, chosen: list[Behaviour]) -> str:
    """Names the data set that this recipe makes."""
    files = [hashlib.sha256(read_bytes(behaviour.path)).hexdigest() for behaviour in chosen]
    return digest([RECIPE_VERSION, task.name, config.episodes, config.seed, files, *task.determinants.values()])


def plan_units(task: Task, config: DataConfig, chosen: list[Behaviour]) -> list[RolloutUnit]:
    """Equal shares of the episodes for each behaviour, in units that take turns in TEMPERATURES."""
    share = math.ceil(config.episodes * SPARE / len(chosen) / UNIT_EPISODES)
    units = []
    for number, behaviour in enumerate(chosen):
        stream = (config.seed, task.name, number, "collect")
        seeds = episode_seeds(share * UNIT_EPISODES, *stream)
        for part in range(share):
            units.append(
                RolloutUnit(
                    task=task.name,
                    policy=behaviour.path.read_bytes(),
                    seeds=seeds[part * UNIT_EPISODES : (part + 1) * UNIT_EPISODES],
                    copies=UNIT_EPISODES,
                    noise_seed=derive(*stream, "noise", part),
                    temperature=TEMPERATURES[part % len(TEMPERATURES)],
                )
            )
    return units


def make_data_set(
    task: Task,
    config: DataConfig,
    chosen: list[Behaviour],
    roll_out: Callable[[Sequence[RolloutUnit]], list[Trajectories]],
) -> Trajectories:
    """The data set of a recipe; `roll_out` gives the episodes of each unit, in their order."""
    return assemble(task, config, roll_out(plan_units(task, config, chosen)), len(chosen))


def make_data_set_here(task: Task, config: DataConfig) -> Trajectories:
    """The data set of a recipe, rolled out in this process."""

    def roll_out(units: Sequence[RolloutUnit]) -> list[Trajectories]:
        with closing(VectorStepper(task.name, units[0].copies)) as stepper:
            return [run_unit(unit, stepper) for unit in units]

    return make_data_set(task, config, behaviours(task, config.source), roll_out)


def assemble(task: Task, config: DataConfig, parts: list[Trajectories], num_behaviours: int) -> Trajectories:
    """The data set from the results of `plan_units`: episodes inside the envelope, evenly over cost and reward."""
    per_behaviour = len(parts) // num_behaviours
    numbered = [
        replace(part, behaviours=np.full(len(part), index // per_behaviour)) for index, part in enumerate(parts)
    ]
    whole = concatenate(numbered)
    return whole.select(np.sort(choose_episodes(task, whole.returns, whole.episode_costs, config.episodes)))


def choose_episodes(
    task: Task, returns: NDArray[np.float64], costs: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    """At most `count` episodes inside the envelope (own tasks have none), spread over the reward-cost plane.

    Cost bands bounded by the thresholds have fixed shares (COST_SHARES; equal ones where an own task has not three
    thresholds); within a band, bins of the reward take turns.

    Args:
        task: the task, for the envelope.
        returns: [E] episode returns.
        costs: [E] episode costs.
        count: episodes wanted.
    """
    reward = task.normalized_reward(returns)
    has_envelope = task.definition is None
    inside = np.flatnonzero(((costs <= task.cost_max) & (reward <= REWARD_MARGIN)) | (not has_envelope))
    band = np.searchsorted(task.thresholds, costs[inside], side="left")
    reward_bin = np.floor(reward[inside] / REWARD_BIN).astype(np.int64)
    turn = _rank_within(band * 10_000 + reward_bin, np.arange(len(inside)))
    bands = len(task.thresholds) + 1
    shares = np.array(COST_SHARES) if bands == len(COST_SHARES) else np.full(bands, 1 / bands)
    place = _rank_within(band, turn) / shares[band]
    return inside[np.argsort(place, kind="stable")[:count]]


def _rank_within(group: NDArray[np.int64], key: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each element [E] among those of its group, ordered by key."""
    order = np.lexsort((key, group))
    ordered = group[order]
    first = np.searchsorted(ordered, ordered, side="left")
    ranks = np.empty(len(group), dtype=np.int64)
    ranks[order] = np.arange(len(group)) - first
    return ranks

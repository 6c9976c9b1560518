"""Ray actors that step simulators: rollouts for data and evaluation, and counterfactual trajectories.

Their work is pure: when an actor is lost, Ray starts another one, which does the unit again. A unit that ends its actor
every time is not tried for ever (`prefine_ray.orchestration.failures`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.util import ActorPool

from prefine_ray.core.provenance import made_on
from prefine_ray.data.counterfactuals import CounterfactualRequest, Counterfactuals
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.experiment.job import TrainingJob, load_trajectories
from prefine_ray.orchestration.cluster import ResourcePlan, place
from prefine_ray.orchestration.failures import UNIT_FAILURES
from prefine_ray.rollouts.counterfactuals import CounterfactualGenerator
from prefine_ray.rollouts.rollout import RolloutUnit, run_unit
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.definition import TaskDefinition
from prefine_ray.tasks.registration import add_tasks

KEPT_STEPPERS = 3  # per actor: concurrent trials alternate between their tasks


@dataclass(frozen=True)
class EpisodeTable:
    """Evaluation episodes, and the columns of their rows that say where they ran."""

    episodes: EpisodeSummary
    machine: dict[str, str]


@ray.remote(max_restarts=-1, max_task_retries=UNIT_FAILURES)
class RolloutActor:
    """Runs episodes; keeps the simulators of its latest tasks between calls.

    Args:
        definitions: of the own tasks among those that it is asked for.
    """

    def __init__(self, definitions: Mapping[str, TaskDefinition]) -> None:
        torch.set_num_threads(1)
        add_tasks(definitions)
        self._steppers: dict[tuple[str, int], VectorStepper] = {}

    def trajectories(self, unit: RolloutUnit) -> Trajectories:
        """The unit's episodes as whole arrays."""
        if not unit.condition.carry_over:
            return run_unit(unit, self._stepper_for(unit))
        with closing(VectorStepper(unit.task, unit.copies, carry_over=True)) as fresh:  # a used one carries over, too
            return run_unit(unit, fresh)

    def table(self, unit: RolloutUnit) -> EpisodeTable:
        """Only returns, costs and lengths of the unit's episodes, and where they ran."""
        return EpisodeTable(self.trajectories(unit).summary, made_on())

    def _stepper_for(self, unit: RolloutUnit) -> VectorStepper:
        key = (unit.task, unit.copies)
        stepper = self._steppers.pop(key, None) or VectorStepper(*key)
        self._steppers[key] = stepper  # the latest at the end
        while len(self._steppers) > KEPT_STEPPERS:
            self._steppers.pop(next(iter(self._steppers))).close()
        return stepper


@ray.remote(max_restarts=-1, max_task_retries=UNIT_FAILURES)
class CounterfactualActor:
    """Generates counterfactual trajectories beside the learner of the same job."""

    def __init__(self, job: TrainingJob) -> None:
        torch.set_num_threads(1)
        add_tasks(job.inputs.definitions)
        trajectories, _ = load_trajectories(job)
        assert job.mode is not None
        self._generator = CounterfactualGenerator(job.pack.task, trajectories, job.mode)

    def generate(self, request: CounterfactualRequest) -> Counterfactuals:
        """One member's counterfactuals."""
        return self._generator.generate(request)


class ActorSource:
    """A learner's counterfactual source that spreads one request per member over actors."""

    def __init__(self, actors: Sequence[Any]):
        self._actors = list(actors)
        self._results: list[Any] = []

    def request(self, requests: Sequence[CounterfactualRequest]) -> None:
        """Starts the generation; returns at once."""
        turns = zip(itertools.cycle(self._actors), requests, strict=False)
        self._results = [actor.generate.remote(request) for actor, request in turns]

    def collect(self) -> list[Counterfactuals]:
        """Waits for all members' counterfactuals."""
        return ray.get(self._results)


def start_counterfactual_actors(job: TrainingJob, plan: ResourcePlan) -> list[Any]:
    """Starts the actors of one trial on the rollout nodes; another pack's begin at another node."""
    make = CounterfactualActor.options  # type: ignore[attr-defined]
    first = int(job.pack.name, 16)
    return [make(**place(plan, first + number)).remote(job) for number in range(plan.counterfactual_actors)]


def start_rollout_actors(plan: ResourcePlan, definitions: Mapping[str, TaskDefinition]) -> list[Any]:
    """Starts the actors of a sweep with these own tasks on the rollout nodes, in turns."""
    make = RolloutActor.options  # type: ignore[attr-defined]
    return [make(**place(plan, number)).remote(definitions) for number in range(plan.rollout_actors)]


def map_units(actors: Sequence[Any], method: str, units: Sequence[Any]) -> Iterator[Any]:
    """Results of `method` for all units, in the units' order, each actor busy with one at a time."""
    return ActorPool(list(actors)).map(lambda actor, unit: getattr(actor, method).remote(unit), list(units))

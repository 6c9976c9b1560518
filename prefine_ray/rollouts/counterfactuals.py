"""Counterfactual trajectories: what the current policy would have done instead.

The other side of each preference is sampled from the policy itself, either *state-matched* (an action at
every state of a preference trajectory) or *closed-loop* (a rollout of the policy from the same initial
state). Both are pure functions of (policy, trajectories, seed); who runs them, the learner's own process
or Ray actors, makes no difference to the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prefine_ray.core.errors import PrefineError
from prefine_ray.data.counterfactuals import CounterfactualRequest, Counterfactuals, Mode
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.policies.files import policy_from_bytes
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper

NOT_CLOSED_LOOP = "use `counterfactuals: learner` or `actors` (state-matched)"
NO_RESET_SEEDS = (
    f"closed-loop counterfactuals need the reset seed of each episode, and this data set has none; {NOT_CLOSED_LOOP}"
)


class NoResetSeedsError(PrefineError, ValueError):
    """Closed-loop counterfactuals of trajectories whose initial states cannot be made again."""


class CounterfactualGenerator:
    """Answers requests about one set of trajectories; keeps the simulators of closed-loop requests."""

    def __init__(self, task: str, trajectories: Trajectories, mode: Mode):
        if mode == "closed_loop" and trajectories.seeds is None:
            raise NoResetSeedsError(NO_RESET_SEEDS)
        self._task, self._trajectories, self._mode = task, trajectories, mode
        self._stepper: VectorStepper | None = None

    def generate(self, request: CounterfactualRequest) -> Counterfactuals:
        """The counterfactual trajectories of one member; one that has diverged is not let into a simulator."""
        policy = policy_from_bytes(request.policy, allow_diverged=True)
        if self._mode == "state_matched" or not all(policy.finite_members()):
            return state_matched(policy, self._trajectories, request)
        if self._stepper is None or self._stepper.num_envs != len(request.episodes):
            self.close()
            self._stepper = VectorStepper(self._task, len(request.episodes))
        return closed_loop(policy, self._trajectories, request, self._stepper)

    def close(self) -> None:
        """Frees the simulators."""
        if self._stepper is not None:
            self._stepper.close()


class LocalSource:
    """Generates counterfactuals in this process, for fine-tuning without Ray."""

    def __init__(self, generator: CounterfactualGenerator):
        self._generator = generator
        self._requests: list[CounterfactualRequest] = []

    def request(self, requests: Sequence[CounterfactualRequest]) -> None:
        """Remembers the requests; the work is done when the results are collected."""
        self._requests = list(requests)

    def collect(self) -> list[Counterfactuals]:
        """Generates what was requested."""
        return [self._generator.generate(request) for request in self._requests]


@torch.inference_mode()
def state_matched(
    policy: GaussianPolicy, trajectories: Trajectories, request: CounterfactualRequest
) -> Counterfactuals:
    """Samples an action of the policy at every state of the requested episodes."""
    part = trajectories.select(request.episodes)
    generator = torch.Generator().manual_seed(request.seed)
    mean, log_std = policy(torch.from_numpy(part.observations)[None])
    actions = policy.sample(mean, log_std, generator, request.temperature)[0]
    return Counterfactuals(part.observations, actions.numpy(), part.lengths, request.policy_step)


def closed_loop(
    policy: GaussianPolicy, trajectories: Trajectories, request: CounterfactualRequest, stepper: VectorStepper
) -> Counterfactuals:
    """Rolls the policy out from the initial states of the requested episodes, which must know their reset seeds."""
    assert trajectories.seeds is not None
    seeds = trajectories.seeds[request.episodes]
    rolled = rollout(policy, stepper, seeds, noise_seed=request.seed, temperature=request.temperature)
    return Counterfactuals(rolled.observations, rolled.actions, rolled.lengths, request.policy_step)

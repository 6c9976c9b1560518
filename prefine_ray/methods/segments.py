"""What CPL-KL and TraC share: cloning on segments of both sides, then a loss of log-ratios to that clone.

Both train a fresh actor in two phases: `bc_steps` of behavioural cloning on segments drawn uniformly from the
preferred and the dispreferred trajectories alike; then the actor as it is becomes the frozen reference, and
with a new optimiser the preference loss is minimised on batches of which half the segments are desirable and
half undesirable. In the second phase the learning rate rises over `warmup_steps` to `preference_rate` times
that of the first. All this is as in both methods' code; without their dropout of 0.25.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from prefine_ray.core.settings import Advanced, MethodSettings, Positive, PositiveFloat
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.actor_network import log_prob, new_actors
from prefine_ray.methods.population import CHUNK, Member, MemberRows, Metrics, PopulationLearner
from prefine_ray.methods.segment_table import segment_starts
from prefine_ray.policies.gaussian import GaussianPolicy

_BLOCK = 8192  # data steps whose reference log-probabilities are computed at once


class SegmentAdvanced(Advanced):
    """Settings of CPL-KL and TraC that hardly anybody changes."""

    preference_rate: PositiveFloat = 0.1  # factor of the learning rate in the preference phase
    hidden: tuple[Positive, ...] = (256, 256)  # units of the hidden layers
    checkpoint_every: Positive = 5_000


class SegmentSettings(MethodSettings):
    """What CPL-KL and TraC have in common."""

    steps: Positive = 100_000  # gradient steps in all
    bc_steps: Positive = 30_000  # of them cloning, before the preference loss
    batch_size: Annotated[int, Field(gt=0, multiple_of=2)] = 96  # segments, half of them from either side
    segment: Positive = 64  # steps per segment
    learning_rate: PositiveFloat = 1e-4  # Adam
    warmup_steps: Positive = 10_000  # of that phase, over which its rate rises from 0
    advanced: SegmentAdvanced = SegmentAdvanced()

    @model_validator(mode="after")
    def _phases(self) -> SegmentSettings:
        if self.bc_steps >= self.steps:
            raise ValueError(f"bc_steps ({self.bc_steps}) must be below steps ({self.steps}), which counts both phases")
        return self

    @property
    def least_steps(self) -> int:
        """Steps that a trajectory must have to be trained on."""
        return self.segment


class PreferenceLoss(NamedTuple):
    """A preference loss and what it says of the batch, each [P]."""

    total: Tensor
    advantage_desirable: Tensor  # mean: should grow
    advantage_undesirable: Tensor  # mean: should fall
    accuracy: Tensor  # fraction of segments, or pairs, on the right side


Sides = tuple[NDArray[np.int64], NDArray[np.int64]]  # first steps of the desirable and of the undesirable segments


def whole_segments(trajectories: Trajectories, episodes: NDArray[np.int64], segment: int) -> NDArray[np.int64]:
    """First steps of all segments of `segment` steps that fit in these episodes."""
    lengths = trajectories.lengths[episodes]
    return segment_starts(trajectories.starts[episodes], lengths, lengths, segment)[0]


class SegmentLearner(PopulationLearner):
    """The two phases; a method says which segments are on which side, and adds its loss."""

    def __init__(
        self,
        trajectories: Trajectories,
        members: Sequence[Member],
        config: SegmentSettings,
        sides: Sequence[Sides],
        device: str | torch.device = "cpu",
    ):
        super().__init__(
            new_actors(trajectories, members, config.advanced.hidden), trajectories, members, config, device
        )
        self.config = config
        self._both = MemberRows([np.concatenate(pair) for pair in sides], self.device)
        self._side = [MemberRows([pair[side] for pair in sides], self.device) for side in range(2)]
        self._along = torch.arange(config.segment, device=self.device)
        self._reference: GaussianPolicy | None = None
        self._reference_log_prob: Tensor | None = None  # [P, T]

    # ------------------------------------------------------------------ what a method adds

    @abstractmethod
    def _preference_loss(self, desirable: Tensor, undesirable: Tensor, places: list[Tensor]) -> PreferenceLoss:
        """The loss of the second phase.

        Args:
            desirable: [P, B/2, L] log-ratios to the reference along each segment.
            undesirable: [P, B/2, L].
            places: [P, B/2] each: where the segments stand in the lists of `sides`, put together member by member.
        """

    # ------------------------------------------------------------------ the two phases

    def _draw(self, generator: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        return {"uniform": generator.random((CHUNK, 2, self.config.batch_size // 2), dtype=np.float32)}

    def _before_step(self) -> None:
        since = self.step - self.config.bc_steps
        if since == 0:
            self._set_reference(self.policy.select(range(len(self.members))))
            self.optimizer = self._new_optimizer()
        if since >= 0:
            warm = min(1.0, (since + 1) / self.config.warmup_steps)
            self.optimizer.param_groups[0]["lr"] = (
                self.config.learning_rate * self.config.advanced.preference_rate * warm
            )

    @torch.no_grad()
    def _set_reference(self, policy: GaussianPolicy) -> None:
        """Freezes the reference and computes its log-probabilities of all data actions."""
        self._reference = policy.to(self.device).requires_grad_(False)
        blocks = zip(self._observations.split(_BLOCK), self._actions.split(_BLOCK), strict=True)
        self._reference_log_prob = torch.cat([log_prob(self._reference, o[None], a[None]) for o, a in blocks], dim=1)

    def _loss(self, logging: bool) -> tuple[Tensor, Metrics | None]:
        uniform = self._random("uniform")
        if self.step < self.config.bc_steps:
            loss = -self._log_prob(self._steps_of(self._both.draw(uniform.flatten(1)))).mean(-1)
            return loss, self._metrics(logging, loss=loss, loss_reward=loss)
        places = [table.places(uniform[:, side]) for side, table in enumerate(self._side)]
        starts = torch.cat([table.values[at] for table, at in zip(self._side, places, strict=True)], dim=1)
        steps = self._steps_of(starts)
        data = self._log_prob(steps)
        assert self._reference_log_prob is not None
        ratio = (data - self._reference_log_prob.gather(1, steps)).view(len(self.members), 2, -1, self.config.segment)
        preference = self._preference_loss(ratio[:, 0], ratio[:, 1], places)
        return preference.total, self._metrics(
            logging,
            loss=preference.total,
            loss_safety=preference.total,
            loss_reward=-data.mean(-1),
            margin_preferred=preference.advantage_desirable,
            margin_dispreferred=preference.advantage_undesirable,
            accuracy=preference.accuracy,
        )

    def _steps_of(self, starts: Tensor) -> Tensor:
        """[P, B] first steps to [P, B L] steps."""
        return (starts[..., None] + self._along).flatten(1)

    def _log_prob(self, steps: Tensor) -> Tensor:
        return log_prob(self.policy, self._observations[steps], self._actions[steps])

    def _metrics(self, logging: bool, **values: Tensor) -> Metrics | None:
        return {name: value.detach().cpu() for name, value in values.items()} if logging else None

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, the reference among it once there is one."""
        reference = None if self._reference is None else self._reference.state_dict()
        return {**super().state_dict(), "reference": reference}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a checkpoint of either phase."""
        super().load_state_dict(state)
        if state["reference"] is not None:
            reference = self.policy.select(range(len(self.members)))
            reference.load_state_dict(state["reference"])
            self._set_reference(reference)

"""What every method's training shares: a population of policies trained at once, without Ray.

Members do not influence one another: each has its own data and random stream, the policies are batched
matrix products, and Adam works element by element. A member trained alone ends as it does among others.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.core.seeding import derive
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.policies.gaussian import GaussianPolicy

CHUNK = 25  # gradient steps whose random numbers are drawn at once
SIDES = ("preferred", "dispreferred")

Metrics = dict[str, Tensor]  # [P] each, on the CPU


class TrainingSettings(Protocol):
    """What the settings of every method hold."""

    @property
    def steps(self) -> int:
        """Gradient steps in all."""

    @property
    def batch_size(self) -> int:
        """Draws per step; what is drawn depends on the method."""

    @property
    def learning_rate(self) -> float:
        """Of Adam."""

    @property
    def log_every(self) -> int:
        """Steps between two points of the learning curves."""


@dataclass(frozen=True)
class Member:
    """One policy of the population: its weight, its trajectories and its random stream."""

    weight: float  # the reward/safety weight; NaN for methods without one
    preferred: NDArray[np.int64]  # episode indices into the job's trajectories
    dispreferred: NDArray[np.int64]  # empty for methods that only imitate
    seed: int  # members of equal seed see the same random numbers, whatever their weight
    base: int = 0  # which of the job's base policies it starts from

    def side(self, name: str) -> NDArray[np.int64]:
        """The episodes of D_p ("preferred") or D_np ("dispreferred")."""
        return self.preferred if name == "preferred" else self.dispreferred


class MemberRows:
    """For each member a list of rows to draw from; the lists may differ in length.

    Raises:
        ValueError: a member's list is empty.
    """

    def __init__(self, rows: Sequence[NDArray[np.int64]], device: torch.device):
        counts = np.array([len(part) for part in rows])
        if (counts == 0).any():
            raise ValueError("no segment fits: the segment is longer than the (counterfactual) episodes")
        self.count = torch.as_tensor(counts, device=device)[:, None]
        self.offset = torch.as_tensor(np.cumsum(counts) - counts, device=device)[:, None]
        self.values = torch.as_tensor(np.concatenate(rows), device=device)

    def places(self, uniform: Tensor) -> Tensor:
        """Places [P, B] in `values` for uniform numbers [P, B] in [0, 1)."""
        return self.offset + (uniform * self.count).long().clamp_max(self.count - 1)

    def draw(self, uniform: Tensor) -> Tensor:
        """Uniformly drawn rows [P, B]."""
        return self.values[self.places(uniform)]


class PopulationLearner(ABC):
    """Trains P policies at once; a method adds what it draws per step (`_draw`) and its loss (`_loss`)."""

    def __init__(
        self,
        policy: GaussianPolicy,
        trajectories: Trajectories,
        members: Sequence[Member],
        settings: TrainingSettings,
        device: str | torch.device = "cpu",
    ):
        self.members, self.trajectories, self.settings = list(members), trajectories, settings
        self.device = torch.device(device)
        self.step = 0
        self.policy = policy.to(self.device)
        self.optimizer = self._new_optimizer()
        self._observations = torch.from_numpy(trajectories.observations).to(self.device)
        self._actions = torch.from_numpy(trajectories.actions).to(self.device)
        self._stream_seeds = sorted({member.seed for member in self.members})
        streams = [self._stream_seeds.index(member.seed) for member in self.members]
        self._stream_of = torch.tensor(streams, device=self.device)
        self._chunk: tuple[int, dict[str, Tensor]] = (-1, {})

    # ------------------------------------------------------------------ what a method adds

    @abstractmethod
    def _draw(self, generator: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        """The random numbers of CHUNK steps of one stream, [CHUNK, ...] each."""

    @abstractmethod
    def _loss(self, logging: bool) -> tuple[Tensor, Metrics | None]:
        """The loss of this step per member, [P], and on logging steps the metrics."""

    def _before_step(self) -> None:  # noqa: B027  (most methods have nothing to do)
        """Called before each gradient step."""

    # ------------------------------------------------------------------ the training

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.policy.parameters(), lr=self.settings.learning_rate, fused=True)

    def _fall_along_a_cosine(self) -> None:
        """Sets the learning rate of this step: the full one at the first step, 0 after the last."""
        falling = 0.5 * (1.0 + math.cos(math.pi * self.step / self.settings.steps))
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * falling

    def _random(self, name: str) -> Tensor:
        """This step's random numbers per member, [P, ...]; equal for members of one stream."""
        index, offset = divmod(self.step, CHUNK)
        if self._chunk[0] != index:
            self._chunk = (index, self._draw_chunk(index))
        return self._chunk[1][name][:, offset][self._stream_of]

    def _draw_chunk(self, index: int) -> dict[str, Tensor]:
        streams = [
            self._draw(np.random.Generator(np.random.Philox(derive(seed, "batches", index))))
            for seed in self._stream_seeds
        ]
        return {
            name: torch.from_numpy(np.stack([drawn[name] for drawn in streams])).to(self.device) for name in streams[0]
        }

    def train_step(self) -> Metrics | None:
        """One gradient step of all members; metrics on logging steps."""
        self._before_step()
        logging = self.step % self.settings.log_every == 0 or self.step == self.settings.steps - 1
        loss, metrics = self._loss(logging)
        self.optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        self.optimizer.step()
        self.step += 1
        return metrics

    def train(self, until: int, on_metrics: Callable[[int, Metrics], None] | None = None) -> None:
        """Trains until gradient step `until`, giving the metrics of logging steps to `on_metrics(step, metrics)`."""
        while self.step < until:
            step = self.step
            metrics = self.train_step()
            if metrics is not None and on_metrics is not None:
                on_metrics(step, metrics)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, as tensors and plain values; random numbers follow from the step."""
        return {"step": self.step, "policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a checkpoint."""
        self.step = state["step"]
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])

    def policies(self) -> GaussianPolicy:
        """The trained population, on the CPU."""
        return self.policy.select(range(len(self.members))).cpu()

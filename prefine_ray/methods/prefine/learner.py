"""Fine-tuning of a population of policies with the PREFINE objective, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.core.seeding import derive
from prefine_ray.data.counterfactuals import CounterfactualRequest, Counterfactuals, CounterfactualSource, Mode
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.actor_network import member_rows
from prefine_ray.methods.population import CHUNK, SIDES, Member, Metrics, PopulationLearner
from prefine_ray.methods.prefine.objective import Loss, SidedLogProbs, gaussian_entropy, gaussian_kl, prefine_loss
from prefine_ray.methods.prefine.settings import FineTuneSettings
from prefine_ray.methods.segment_table import SegmentTable, segment_starts
from prefine_ray.policies.files import policy_bytes
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader


@dataclass
class _Window:
    """What the batches are drawn from until the next refresh: per side a segment table, and counterfactuals."""

    tables: dict[str, SegmentTable]
    observations: Tensor | None = None  # [P, R, obs_dim] padded; None: sampled in the learner
    actions: Tensor | None = None  # [P, R, act_dim]
    policy_step: int = 0


class PrefineLearner(PopulationLearner):
    """Trains P policies at once with the PREFINE objective, each from its own reference or all from the same."""

    def __init__(
        self,
        reference: GaussianPolicy,
        trajectories: Trajectories,
        members: Sequence[Member],
        config: FineTuneSettings,
        device: str | torch.device = "cpu",
        mode: Mode | None = None,
        source: CounterfactualSource | None = None,
    ):
        """A population that starts as copies of the references.

        Args:
            reference: the policies that `Member.base` numbers, frozen; an episode belongs to members of one of them.
            trajectories: what the members' indices point into.
            members: one for each policy.
            config: settings.
            device: where to train.
            mode: which counterfactuals `source` generates; None: they are sampled with each batch, without a source.
            source: generates counterfactuals.

        Raises:
            ValueError: there is a mode and no source, or members of different references share an episode.
        """
        bounds = (config.log_std_min, reference.architecture.log_std_bounds[1])
        self.reference = reference.with_log_std_bounds(bounds).to(device).requires_grad_(False)
        self._base_of = [member.base for member in members]
        super().__init__(self.reference.select(self._base_of), trajectories, members, config, device)
        self.config = config
        if mode is not None and source is None:
            raise ValueError(f"{mode} counterfactuals need a source that generates them")
        self._mode, self._source = mode, source if mode is not None else None
        self._weight = torch.tensor([member.weight for member in members], device=self.device)
        self._reference_mean, self._reference_log_std = self._reference_on_data()
        self._window = self._whole_data_window() if self._source is None else None
        self._pending: list[list[CounterfactualRequest]] = []

    # ------------------------------------------------------------------ set-up

    @torch.no_grad()
    def _reference_on_data(self) -> tuple[Tensor, Tensor]:
        """Mean and log sigma of the reference at every step of the data, [T, act_dim] each."""
        if self.reference.population == 1:
            mean, log_std = self.reference(self._observations[None])
            return mean[0], log_std[0].contiguous()
        mean, log_std = (torch.zeros_like(self._actions) for _ in range(2))
        owner = np.full(len(self.trajectories), -1)
        for base in sorted(set(self._base_of)):
            own = [member.side(name) for member in self.members if member.base == base for name in SIDES]
            episodes = np.unique(np.concatenate(own))
            if (owner[episodes] != -1).any():
                raise ValueError("members of different references share an episode; give each its own copy")
            owner[episodes] = base
            rows = torch.from_numpy(member_rows(self.trajectories, episodes)).to(self.device)
            of_rows = self.reference.select(base).to(self.device)(self._observations[rows][None])
            mean[rows], log_std[rows] = (value[0] for value in of_rows)
        return mean, log_std

    def _reference_at(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sigma of each member's reference at its observations [P, N, obs_dim], [P, N, act_dim] each."""
        if self.reference.population == 1:
            mean, log_std = self.reference(observations.flatten(0, 1)[None])
            shape = (*observations.shape[:2], -1)
            return mean.reshape(shape), log_std.reshape(shape)
        return self._own_references(observations)

    @cached_property
    def _own_references(self) -> GaussianPolicy:
        return self.reference.select(self._base_of).to(self.device).requires_grad_(False)

    def _pairs(self, episodes: NDArray[np.int64], lengths: NDArray[np.int64], first_row: int = 0) -> Any:
        data = self.trajectories
        steps, rows = segment_starts(
            data.starts[episodes], data.lengths[episodes], lengths, self.config.advanced.segment
        )
        return steps, rows + first_row

    def _whole_data_window(self) -> _Window:
        """Batches from all episodes of each side; counterfactuals are sampled with each batch."""
        lengths = self.trajectories.lengths
        return _Window(
            {
                name: SegmentTable(
                    [self._pairs(member.side(name), lengths[member.side(name)]) for member in self.members], self.device
                )
                for name in SIDES
            }
        )

    def _draw(self, generator: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        batch = self.config.batch_size
        drawn = {"uniform": generator.random((CHUNK, 2, batch), dtype=np.float32)}
        if self._source is None:
            shape = (CHUNK, 2 * batch * self.config.advanced.segment, self._actions.shape[-1])
            drawn["noise"] = generator.standard_normal(shape, dtype=np.float32)
        return drawn

    # ------------------------------------------------------------------ counterfactuals from a source

    def _before_step(self) -> None:
        if self._source is not None and self.step % self.config.advanced.refresh_every == 0:
            self._refresh()
        if self.config.schedule == "cosine":
            self._fall_along_a_cosine()

    def _refresh(self) -> None:
        """At the start of each interval of `refresh_every` steps: use what was requested one refresh earlier.

        Generation runs beside the training, and the staleness is the same on every machine: the first
        two intervals use the reference's, later ones those of the policy one interval earlier.
        """
        assert self._source is not None
        if not self._pending:
            self._ask()
        requests = self._pending.pop(0)
        self._window = self._sourced_window(requests, self._source.collect())
        self._ask()

    def _ask(self) -> None:
        assert self._source is not None
        requests = [self._request(index) for index in range(len(self.members))]
        self._pending.append(requests)
        self._source.request(requests)

    def _request(self, index: int) -> CounterfactualRequest:
        member, config = self.members[index], self.config
        generator = np.random.Generator(np.random.Philox(derive(member.seed, "window", self.step)))
        size = config.advanced.window_episodes
        chosen = [
            generator.choice(member.side(name), min(size, len(member.side(name))), replace=False) for name in SIDES
        ]
        return CounterfactualRequest(
            policy=policy_bytes(self.policy.select(index), PolicyHeader(task="")),
            policy_step=self.step,
            episodes=np.concatenate(chosen),
            num_preferred=len(chosen[0]),
            seed=derive(member.seed, "counterfactuals", self.step),
            temperature=config.temperature,
        )

    def _sourced_window(self, requests: list[CounterfactualRequest], results: list[Counterfactuals]) -> _Window:
        rows = max(len(result.actions) for result in results)
        pad = [(0, rows - len(result.actions)) for result in results]
        observations = np.stack([np.pad(r.observations, (p, (0, 0))) for r, p in zip(results, pad, strict=True)])
        actions = np.stack([np.pad(r.actions, (p, (0, 0))) for r, p in zip(results, pad, strict=True)])
        tables: dict[str, SegmentTable] = {}
        for name in SIDES:
            pairs = []
            for request, result in zip(requests, results, strict=True):
                split = request.num_preferred
                part = slice(0, split) if name == "preferred" else slice(split, None)
                first_row = 0 if name == "preferred" else int(result.lengths[:split].sum())
                pairs.append(self._pairs(request.episodes[part], result.lengths[part], first_row))
            tables[name] = SegmentTable(pairs, self.device)
        return _Window(
            tables,
            torch.from_numpy(observations).to(self.device),
            torch.from_numpy(actions).to(self.device),
            requests[0].policy_step,
        )

    # ------------------------------------------------------------------ one gradient step

    def _draw_batch(self) -> tuple[Tensor, Tensor]:
        """Flat data steps and counterfactual rows [P, 2 B L]: the preferred half, then the dispreferred."""
        assert self._window is not None
        uniform = self._random("uniform")
        drawn = [self._window.tables[name].draw(uniform[:, side]) for side, name in enumerate(SIDES)]
        along = torch.arange(self.config.advanced.segment, device=self.device)
        steps, rows = (torch.cat([pair[i] for pair in drawn], dim=1) for i in range(2))
        return (steps[..., None] + along).flatten(1), (rows[..., None] + along).flatten(1)

    def _loss(self, logging: bool) -> tuple[Tensor, Metrics | None]:
        steps, rows = self._draw_batch()
        observations, actions = self._observations[steps], self._actions[steps]
        mean, log_std = self.policy(observations)
        reference = (self._reference_mean[steps], self._reference_log_std[steps])
        data = self.policy.log_prob(mean, log_std, actions)
        data_reference = self.policy.log_prob(*reference, actions)
        counterfactual = self._counterfactual_log_probs(rows, mean, log_std, reference)
        sides = self._split(data, data_reference, *counterfactual)
        loss = self._objective(*sides)
        return loss.total, self._metrics(loss, sides, mean, log_std, reference) if logging else None

    def _objective(self, preferred: SidedLogProbs, dispreferred: SidedLogProbs) -> Loss:
        return prefine_loss(preferred, dispreferred, self._weight, self.config.beta, self.config.log_ratio_limit)

    def _counterfactual_log_probs(
        self, rows: Tensor, mean: Tensor, log_std: Tensor, reference: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """log pi_theta and log pi_ref of the counterfactual actions at their states, [P, 2 B L] each."""
        window = self._window
        if window is None or window.actions is None or window.observations is None:
            with torch.no_grad():
                noise = self._random("noise") * self.config.temperature
                actions = self.policy.to_action(mean + log_std.exp() * noise)
            return self.policy.log_prob(mean, log_std, actions), self.policy.log_prob(*reference, actions)
        actions = _take(window.actions, rows)
        if self._mode == "closed_loop":
            observations = _take(window.observations, rows)
            mean, log_std = self.policy(observations)
            reference = self._reference_at(observations)
        return self.policy.log_prob(mean, log_std, actions), self.policy.log_prob(*reference, actions)

    def _split(self, *values: Tensor) -> tuple[SidedLogProbs, SidedLogProbs]:
        """[P, 2 B L] each, to both sides as [P, B, L]."""
        shape = (len(self.members), 2, self.config.batch_size, self.config.advanced.segment)
        halves = [value.view(shape) for value in values]
        return SidedLogProbs(*(half[:, 0] for half in halves)), SidedLogProbs(*(half[:, 1] for half in halves))

    @torch.no_grad()
    def _metrics(
        self,
        loss: Loss,
        sides: tuple[SidedLogProbs, SidedLogProbs],
        mean: Tensor,
        log_std: Tensor,
        reference: tuple[Tensor, Tensor],
    ) -> Metrics:
        half = mean.shape[1] // 2
        values = {
            "loss": loss.total,
            "loss_safety": loss.safety,
            "loss_reward": loss.reward,
            "margin_preferred": loss.margin_preferred,
            "margin_dispreferred": loss.margin_dispreferred,
            "accuracy": loss.accuracy,
            "nll_dispreferred": -sides[1].data.mean((-1, -2)),
            "entropy": gaussian_entropy(log_std),
            "kl": gaussian_kl(mean, log_std, *reference),
            "max_mean_dispreferred": mean[:, half:].abs().amax((-1, -2)),
        }
        if self._window is not None and self._window.actions is not None:
            values["staleness"] = torch.full_like(loss.total, float(self.step - self._window.policy_step))
        return {name: value.detach().cpu() for name, value in values.items()}

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs, the counterfactuals that were asked for among it."""
        pending = [[_pack_request(request) for request in requests] for requests in self._pending]
        return {**super().state_dict(), "pending": pending}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a checkpoint made between two intervals (see `refresh_every`)."""
        super().load_state_dict(state)
        self._pending = [[_unpack_request(request) for request in requests] for requests in state["pending"]]
        if self._source is not None and self._pending:
            self._source.request(self._pending[0])


def _take(values: Tensor, rows: Tensor) -> Tensor:
    """values[p, rows[p, i]]: [P, R, D] and [P, N] to [P, N, D]."""
    return torch.gather(values, 1, rows[..., None].expand(-1, -1, values.shape[-1]))


def _pack_request(request: CounterfactualRequest) -> dict[str, Any]:
    """A request as tensors and numbers, which a checkpoint without pickled objects can hold."""
    content = torch.from_numpy(np.frombuffer(request.policy, dtype=np.uint8).copy())
    return {**asdict(request), "policy": content, "episodes": torch.from_numpy(request.episodes)}


def _unpack_request(fields: dict[str, Any]) -> CounterfactualRequest:
    plain = {"policy": fields["policy"].numpy().tobytes(), "episodes": fields["episodes"].numpy()}
    return CounterfactualRequest(**{**fields, **plain})

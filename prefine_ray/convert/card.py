"""The model card of an exported policy, in Markdown."""

from __future__ import annotations

from typing import Any

from prefine_ray.convert.network import TOLERANCE
from prefine_ray.policies.architecture import UNLIMITED
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.tasks.spec import Task

_LIMITS = """- The file gives the deterministic (mean) action; it holds no noise and no training state.
- Actions are in [-1, 1]; an environment with another box has to be behind a rescaling of actions.
- The scores are those of the task's own simulator and of the episodes named here; no bound holds elsewhere, and a mean
  cost below a threshold does not keep every episode below it.
- Arithmetic is the other library's: the same to {tolerance:g}, not to the last bit as in a policy file."""


def model_card(policy: GaussianPolicy, task: Task | None, use: str, difference: float, source: str) -> str:
    """What a user of the file should know.

    Args:
        policy: with its header.
        task: what it was made for, where it is known.
        use: how the file is used, in Markdown.
        difference: the largest of any action between the file and the policy.
        source: the policy file and its digest.
    """
    header = policy.header or PolicyHeader("")
    parts = [
        f"# A policy for {header.task or 'an unnamed task'}",
        use,
        "## Task",
        _task_lines(header.task, task),
        "## Policy",
        _policy_lines(policy, difference, source),
        "## Scores",
        _scores(header),
        "## Made by",
        _made_by(header.made_by),
        "## Limits",
        _LIMITS.format(tolerance=TOLERANCE),
    ]
    return "\n\n".join(parts) + "\n"


def _task_lines(name: str, task: Task | None) -> str:
    if task is None:
        return f"{name or 'Unnamed'}: not among the tasks of the installation that wrote this card."
    thresholds = ", ".join(f"{limit:g}" for limit in task.thresholds)
    return (
        f"- {task.name} ({task.suite}), {task.horizon} steps at most\n"
        f"- thresholds of the episode cost: {thresholds}\n"
        f"- normalised reward 0 and 1 are returns of {task.reward_min:g} and {task.reward_max:g}"
    )


def _policy_lines(policy: GaussianPolicy, difference: float, source: str) -> str:
    architecture = policy.architecture
    hidden = " x ".join(map(str, architecture.hidden)) or "no hidden layer"
    limit = architecture.observation_limit
    clipped = "not clipped" if limit >= UNLIMITED else f"clipped to [-{limit:g}, {limit:g}]"
    end = "tanh of the mean" if architecture.squash else "mean clipped to [-1, 1]"
    return (
        f"- {architecture.obs_dim} observations, {hidden} ({architecture.activation}), {architecture.act_dim} actions "
        f"({end})\n"
        f"- observations are normalised inside the file and {clipped}\n"
        f"- largest difference of an action to the policy file on random observations, within the normalisation and "
        f"beyond its limit: {difference:.1e}\n"
        f"- from {source}"
    )


def _scores(header: PolicyHeader) -> str:
    if not header.scores:
        return "None are stored with the policy; `prefine evaluate` gives them."
    rows = [f"| {name} | {_value(value)} |" for name, value in header.scores.items()]
    return "\n".join(["| score | value |", "|---|---|", *rows])


def _made_by(made_by: dict[str, Any]) -> str:
    if not made_by:
        return "Nothing is stored with the policy."
    lines = [f"- {name}: {_value(value)}" for name, value in made_by.items() if not isinstance(value, dict)]
    if "data_digest" not in made_by:
        lines.append("- data_digest: not stored with the policy")
    lines += [f"- {name}: `{value}`" for name, value in made_by.items() if isinstance(value, dict)]
    return "\n".join(lines)


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""The conditions that a policy can be evaluated under beside the plain one: a record each.

The plain condition is the simulator as it is: every episode starts afresh, what the policy sees and does is exact. To
add a condition, add its record to CONDITIONS; configuration, rows, tables and the command line read it.

Under a condition the episodes of a policy depend on its weights, their reset seeds and their order alone: not on how
many policies or actors share the work.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from prefine_ray.core.errors import PrefineError
from prefine_ray.simulators import carries_over


class UnknownConditionError(PrefineError, ValueError):
    """No condition has this name; the message lists the names and the nearest one."""


@dataclass(frozen=True)
class Condition:
    """One way to evaluate a policy; what it does to the simulator, to observations and to actions.

    Attributes:
        name: in configurations, rows and tables; the plain condition has none.
        text: what tables say of it.
        carry_over: the episodes of a policy run one after the other in one copy of the simulator, of its own and made
            anew, and start with what the episode before left there, as in upstream's environments (see `make_batch`).
        observation_noise: sigma of the Gaussian noise that is added to every observation that the policy sees, as a
            share of the standard deviation by which the policy's own normalisation divides each number. So it means
            the same for every task and unit of measurement. It comes from the episode's reset seed: all policies see
            the same draws, scaled by their own standard deviation.
        action_delay: by how many steps actions come late; until the first one arrives, actions are zero.
    """

    name: str = ""
    text: str = "plain"
    carry_over: bool = False
    observation_noise: float = 0.0
    action_delay: int = 0

    def changes(self, task: str) -> bool:
        """Whether episodes of a task differ from the plain ones: only some simulators carry anything over."""
        return self.observation_noise > 0 or self.action_delay > 0 or (self.carry_over and carries_over(task))

    def stage(self, policy: str) -> str:
        """The column `stage` of the rows of a policy ("base" or "finetuned") under this condition."""
        return f"{policy}-{self.name}" if self.name else policy


PLAIN = Condition()
CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("reused", "simulator reused over episodes", carry_over=True),
        Condition("noise1", "observation noise 1 %", observation_noise=0.01),
        Condition("noise3", "observation noise 3 %", observation_noise=0.03),
        Condition("delay1", "actions delayed by a step", action_delay=1),
    )
}


def get_condition(name: str) -> Condition:
    """The condition of this name; "" is the plain one.

    Raises:
        UnknownConditionError: there is none.
    """
    if not name:
        return PLAIN
    if name not in CONDITIONS:
        near = difflib.get_close_matches(name, CONDITIONS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownConditionError(f"unknown condition {name!r}.{hint} Known conditions: {', '.join(CONDITIONS)}.")
    return CONDITIONS[name]

"""Safety-Gymnasium's interface, where the cost is a value of its own."""

from __future__ import annotations

from typing import Any

import gymnasium


class SixValuedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment with `info["cost"]` whose `step` gives Safety-Gymnasium's six values.

    Example:
        env = SixValuedEnv(gymnasium.make("prefine_ray:CarGoal1-v0"))
        observation, info = env.reset(seed=0)
        observation, reward, cost, terminated, truncated, info = env.step(env.action_space.sample())
    """

    def step(self, action: Any) -> tuple[Any, float, float, bool, bool, dict[str, Any]]:  # type: ignore[override]
        """Observation, reward, cost, terminated, truncated and info.

        Raises:
            KeyError: the environment gives no cost.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), float(info["cost"]), terminated, truncated, info

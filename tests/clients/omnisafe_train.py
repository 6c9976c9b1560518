"""Trains with OmniSafe's own algorithms in an environment of the user's kind.

omnisafe_train.py FOLDER ALGORITHM...: prints the run's folder of each, in a line that begins with RUN, after writing
`actions.npz` there: observations and what OmniSafe's own actor does with them.

OmniSafe imports Safety-Gymnasium, which no Python above 3.10 can; nothing of it is used here.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

sys.modules["safety_gymnasium"] = types.ModuleType("safety_gymnasium")

import omnisafe
from gymnasium import spaces
from omnisafe.common.normalizer import Normalizer
from omnisafe.envs.core import CMDP, env_register
from omnisafe.models.actor import ActorBuilder


@env_register
class Line(CMDP):
    """A random walk with a cost, of BallRun's sizes."""

    _support_envs = ["Line-v0"]  # noqa: RUF012
    need_auto_reset_wrapper = True
    need_time_limit_wrapper = True
    _num_envs = 1
    max_episode_steps = 20

    def __init__(self, env_id, **kwargs):
        self._count = 0
        self._observation_space = spaces.Box(-np.inf, np.inf, (7,))
        self._action_space = spaces.Box(-1.0, 1.0, (2,))

    def reset(self, seed=None, options=None):
        self._state = torch.randn(7)
        return self._state.clone(), {}

    def set_seed(self, seed):
        torch.manual_seed(seed)

    def step(self, action):
        self._state[:2] += 0.1 * action.reshape(-1)
        self._state[2:] = 3 * torch.randn(5) + 1
        cost, never = (self._state[1].abs() > 1).float(), torch.tensor(False)
        return self._state.clone(), -self._state[0].abs(), cost, never, never, {}

    def render(self):
        return None

    def close(self):
        pass


def train(algorithm):
    """Two epochs; the folder of the run."""
    train_cfgs = {"total_steps": 400, "vector_env_nums": 1, "torch_threads": 1}
    logger = {"use_wandb": False, "use_tensorboard": False, "save_model_freq": 1, "log_dir": sys.argv[1]}
    settings = {"steps_per_epoch": 200, "update_iters": 2}
    if algorithm != "PPO":
        settings |= {"update_cycle": 200, "start_learning_steps": 100}
    agent = omnisafe.Agent(
        algorithm, "Line-v0", custom_cfgs={"train_cfgs": train_cfgs, "logger_cfgs": logger, "algo_cfgs": settings}
    )
    agent.learn()
    return Path(agent.agent.logger.log_dir)


def actions(run, observations):
    """As OmniSafe's evaluator does: its actor and its normalizer, loaded from the file."""
    config = json.loads((run / "config.json").read_text())
    found = torch.load(run / "torch_save" / "epoch-2.pt", weights_only=False)
    actor_cfgs = config["model_cfgs"]["actor"]
    builder = ActorBuilder(
        spaces.Box(-np.inf, np.inf, (7,)),
        spaces.Box(-1.0, 1.0, (2,)),
        actor_cfgs["hidden_sizes"],
        activation=actor_cfgs["activation"],
        weight_initialization_mode=config["model_cfgs"]["weight_initialization_mode"],
    )
    actor = builder.build_actor(config["model_cfgs"]["actor_type"])
    actor.load_state_dict(found["pi"])
    if "obs_normalizer" in found:
        normalizer = Normalizer((7,), clip=5)
        normalizer.load_state_dict(found["obs_normalizer"])
        observations = ((observations - normalizer.mean) / normalizer.std).clamp(-normalizer._clip, normalizer._clip)
    with torch.inference_mode():
        return actor.predict(observations, deterministic=True).clamp(-1.0, 1.0)


for name in sys.argv[2:]:
    run = train(name)
    rows = 4 * torch.randn(300, 7)
    np.savez(run / "actions.npz", observations=rows.numpy(), actions=actions(run, rows).numpy())
    print("RUN", run)

"""Trains CleanRL's own networks for some steps and saves state dicts as its scripts do.

cleanrl_train.py FOLDER: writes ppo.pth, sac.pth, td3.pth and the actions of each, NAME.npz.

Its scripts as a whole need gymnasium 0.28; their classes do not.
"""

import sys
import types
from pathlib import Path

import numpy as np
import torch

if sys.version_info >= (3, 12):  # CleanRL 1.2.0 imports what Python no longer has
    sys.modules["distutils"] = types.ModuleType("distutils")
    util = types.ModuleType("distutils.util")
    util.strtobool = lambda word: word == "true"  # type: ignore[attr-defined]
    sys.modules["distutils.util"] = util

import gymnasium

sys.modules["gym"] = gymnasium  # which two of its scripts import by its older name
from cleanrl import ppo_continuous_action, sac_continuous_action, td3_continuous_action

folder = Path(sys.argv[1])
torch.manual_seed(0)
torch.set_num_threads(1)


class Spaces:
    """What the networks ask of vector environments."""

    single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (7,))
    single_action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,))
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (1, 2))


rows = torch.randn(300, 7)
targets = 3 * torch.sin(rows[:, :2])


def fit(parameters, means) -> None:
    optimizer = torch.optim.Adam(parameters, lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (means() - targets).square().mean().backward()
        optimizer.step()


ppo = ppo_continuous_action.Agent(Spaces)
fit(ppo.parameters(), lambda: ppo.actor_mean(rows))
ppo.actor_logstd.data.normal_()
sac = sac_continuous_action.Actor(Spaces)
fit(sac.parameters(), lambda: sac(rows)[0])
td3 = td3_continuous_action.Actor(Spaces)
fit(td3.parameters(), lambda: td3(rows))
with torch.inference_mode():
    actions = {"ppo": ppo.actor_mean(rows).clamp(-2, 2), "sac": sac.get_action(rows)[2], "td3": td3(rows)}
for name, module in (("ppo", ppo), ("sac", sac), ("td3", td3)):
    torch.save(module.state_dict(), folder / f"{name}.pth")
    np.savez(folder / f"{name}.npz", observations=rows.numpy(), actions=actions[name].numpy())
torch.save(ppo, folder / "whole.pth")  # the module itself, a pickle

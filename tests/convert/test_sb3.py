"""Policies of Stable-Baselines3: trained by it for seconds, imported, and exported back to it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from prefine_ray.cli.parser import main
from prefine_ray.convert.importing import checked
from prefine_ray.convert.network import PolicyImportError, observations_for, to_policy
from prefine_ray.convert.sources import sb3
from prefine_ray.convert.targets.sb3 import algorithm_name
from prefine_ray.policies.architecture import UNLIMITED
from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.simulators import make_env
from prefine_ray.tasks.spec import get_task
from tests.makers import small_policy

PENDULUM = gymnasium.make("Pendulum-v1").action_space  # [-2, 2]


def in_task_scale(actions: np.ndarray) -> np.ndarray:
    assert isinstance(PENDULUM, gymnasium.spaces.Box)
    return 2 * (actions - PENDULUM.low) / (PENDULUM.high - PENDULUM.low) - 1


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PPO, VecNormalize]:
    """PPO trained on BallRun behind VecNormalize, with its files."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("sb3")
    env = VecNormalize(make_vec_env(lambda: make_env("BallRun"), n_envs=2), clip_obs=5.0)
    model = PPO("MlpPolicy", env, n_steps=256, n_epochs=2, seed=0, device="cpu")
    model.learn(2_000)
    model.save(folder / "ppo.zip")
    env.save(str(folder / "vecnormalize.pkl"))
    return folder, model, env


def test_ppo_behind_vecnormalize_acts_the_same_in_our_simulator(normalized, tmp_path, capsys):
    folder, model, env = normalized
    words = ["import", str(folder / "ppo.zip"), "--task", "BallRun", "-o", str(tmp_path / "p.safetensors")]
    assert main([*words, "--vecnormalize", str(folder / "vecnormalize.pkl"), "--trust"]) == 0
    difference = float(capsys.readouterr().out.splitlines()[0].rpartition(" ")[2])
    assert difference < 1e-5
    policy = load_policy(tmp_path / "p.safetensors")
    assert policy.header is not None
    assert (policy.header.task, policy.header.made_by["source"]) == ("BallRun", "sb3")
    assert policy.header.made_by["largest_difference"] == pytest.approx(difference, rel=0.1)
    observations = observations_for(policy)
    normed = env.normalize_obs(observations)
    assert (np.abs(normed) == 5.0).any()  # some are beyond the clip
    expected, _ = model.predict(normed, deterministic=True)
    np.testing.assert_allclose(policy.act(observations), expected, atol=1e-5)
    torch.testing.assert_close(policy.log_std[0, 0], model.policy.log_std)
    assert main(["evaluate", "--task", "BallRun", "--policy", str(tmp_path / "p.safetensors"), "--episodes", "2"]) == 0


def test_an_untrusted_pickle_is_refused_and_its_numbers_may_come_as_npz(normalized, tmp_path, capsys):
    folder, _, env = normalized
    words = ["import", str(folder / "ppo.zip"), "--task", "BallRun", "-o", str(tmp_path / "p.safetensors")]
    assert main([*words, "--vecnormalize", str(folder / "vecnormalize.pkl")]) == 2
    message = capsys.readouterr().err
    assert "VecNormalize saves a pickle, which is refused: unpickling runs whatever code" in message
    assert not (tmp_path / "p.safetensors").exists()
    statistics = env.obs_rms
    numbers = {"mean": statistics.mean, "var": statistics.var, "epsilon": env.epsilon, "clip": env.clip_obs}
    np.savez(tmp_path / "numbers.npz", **numbers)
    assert main([*words, "--normalizer", str(tmp_path / "numbers.npz")]) == 0
    trusted = sb3.read(folder / "ppo.zip", folder / "vecnormalize.pkl", trust=True)
    assert load_policy(tmp_path / "p.safetensors").state_dict().keys() == to_policy(trusted).state_dict().keys()
    ours, theirs = load_policy(tmp_path / "p.safetensors").state_dict(), to_policy(trusted).state_dict()
    assert all(ours[key].equal(theirs[key]) for key in ours)


def test_the_pickle_s_code_is_not_run_without_trust(tmp_path):
    marker = tmp_path / "ran"
    bad = tmp_path / "bad.pkl"
    bad.write_bytes(b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR.")
    with pytest.raises(PolicyImportError, match="refused"):
        sb3.read_vecnormalize(bad, trust=False)
    assert not marker.exists()


def trained(kind: str) -> BaseAlgorithm:
    """A policy of Pendulum, whose actions are in [-2, 2]."""
    torch.set_num_threads(1)
    settings: dict[str, Any] = {"seed": 0, "device": "cpu"}
    net = {"net_arch": [16, 16]}
    if kind == "a2c":
        model: BaseAlgorithm = A2C(
            "MlpPolicy", "Pendulum-v1", policy_kwargs={**net, "activation_fn": torch.nn.ReLU}, **settings
        )
    elif kind == "sac":
        model = SAC("MlpPolicy", "Pendulum-v1", policy_kwargs=net, learning_starts=50, **settings)
    else:
        model = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs=net, learning_starts=50, **settings)
    return model.learn(1000 if kind == "a2c" else 150)


@pytest.mark.parametrize("kind", ["a2c", "sac", "td3"])
def test_algorithms_with_another_box_of_actions(kind, tmp_path):
    model = trained(kind)
    model.save(tmp_path / "m.zip")
    network = sb3.read(tmp_path / "m.zip")
    policy = to_policy(network)
    assert policy.architecture.observation_limit == UNLIMITED
    observations = observations_for(policy)
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(policy.act(observations), in_task_scale(expected), atol=1e-5)
    np.testing.assert_allclose(network.actions(observations), in_task_scale(expected), atol=1e-5)
    mean, log_std = (part[0].detach() for part in policy(torch.from_numpy(observations)[None]))
    with torch.no_grad():
        if kind == "a2c":
            sigma = model.policy.log_std.exp() / 2  # of actions in [-1, 1]
            torch.testing.assert_close(log_std.exp(), sigma.expand_as(log_std))
        elif kind == "sac":
            theirs = model.policy.actor.get_action_dist_params(torch.from_numpy(observations))
            torch.testing.assert_close(mean, theirs[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(log_std, theirs[1], atol=1e-5, rtol=1e-5)


class Pictures(gymnasium.Env):
    """An environment that shows a picture, for a CNN."""

    observation_space = gymnasium.spaces.Box(0, 255, (3, 36, 36), np.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (2,))


REFUSED = {
    "a CNN": (lambda: PPO("CnnPolicy", Pictures(), device="cpu"), "features extractor with weights"),
    "gSDE": (lambda: PPO("MlpPolicy", "Pendulum-v1", use_sde=True, device="cpu"), "trained with gSDE"),
    "discrete actions": (lambda: PPO("MlpPolicy", "CartPole-v1", device="cpu"), "its actions are Discrete"),
    "a Q network": (lambda: DQN("MlpPolicy", "CartPole-v1", buffer_size=10, device="cpu"), "its actions are Discrete"),
    "another activation": (
        lambda: PPO("MlpPolicy", "Pendulum-v1", policy_kwargs={"activation_fn": torch.nn.ELU}, device="cpu"),
        "its activation is elu",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_gaussian_mlp_can_hold_is_refused_with_the_reason(case, tmp_path):
    make, message = REFUSED[case]
    make().save(tmp_path / "m.zip")
    with pytest.raises(PolicyImportError, match=message) as caught:
        sb3.read(tmp_path / "m.zip")
    assert str(tmp_path / "m.zip") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_of_other_sizes_is_refused(tmp_path, capsys):
    PPO("MlpPolicy", "Pendulum-v1", device="cpu").save(tmp_path / "m.zip")
    assert main(["import", str(tmp_path / "m.zip"), "--task", "BallRun"]) == 2
    assert "takes 3 observations and gives 1 actions; BallRun has 7 and 2" in capsys.readouterr().err


def test_a_damaged_zip_is_refused(normalized, tmp_path):
    content = (normalized[0] / "ppo.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(PolicyImportError, match=r"cut\.zip"):
        sb3.read(tmp_path / "cut.zip")
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as odd:
        odd.writestr("data", "{}")
        odd.writestr("policy.pth", b"no tensors")
    with pytest.raises(PolicyImportError, match=r"policy\.pth: not a whole file of torch\.save"):
        sb3.read(tmp_path / "odd.zip")


def test_a_policy_that_acts_otherwise_is_refused(normalized):
    network = sb3.read(normalized[0] / "ppo.zip")
    with pytest.raises(PolicyImportError, match="actions differ by"):
        checked(network, lambda rows: network.actions(rows) + 2e-5, get_task("BallRun"), Path("x"), "sb3")


def exported(policy: GaussianPolicy, folder: Path) -> tuple[Any, GaussianPolicy]:
    """The model that SB3 loads of our zip, and the policy that is imported of it."""
    save_policy(policy, folder / "p.safetensors", PolicyHeader("BallRun"))
    assert main(["export", str(folder / "p.safetensors"), "--to", "sb3", "-o", str(folder / "p.zip")]) == 0
    algorithm = {"PPO": PPO, "SAC": SAC}[algorithm_name(policy.architecture.squash)]
    return algorithm.load(folder / "p.zip", device="cpu"), to_policy(sb3.read(folder / "p.zip"))


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize("limit", [10.0, UNLIMITED])
def test_an_exported_zip_acts_as_the_policy_beyond_the_clip_too(squash, limit, tmp_path):
    policy = small_policy(squash=squash, observation_limit=limit, state_dependent_std=True)
    policy.set_normalization(torch.linspace(-1, 1, 7), torch.linspace(0.2, 2, 7))
    model, again = exported(policy, tmp_path)
    observations = np.random.default_rng(1).normal(scale=40, size=(500, 7)).astype(np.float32)
    actions, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(actions, policy.act(observations), atol=1e-5)
    np.testing.assert_allclose(again.act(observations), policy.act(observations), atol=1e-5)
    card = (tmp_path / "p.zip.md").read_text()
    assert f"{algorithm_name(squash)}.load" in card
    assert "deterministic" in card

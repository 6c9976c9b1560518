"""The compiled arithmetic against its definition, bit for bit, and both against PyTorch's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from prefine_ray.policies import forward_definition
from prefine_ray.policies.architecture import UNLIMITED
from prefine_ray.policies.forward_compiled import CompiledPolicies
from prefine_ray.policies.forward_definition import Parameters
from tests.makers import small_policy

KINDS = [
    {"hidden": (64, 64), "activation": "tanh"},
    {"hidden": (256, 256), "state_dependent_std": True},
    {"hidden": (33, 40, 7), "squash": True},
    {"hidden": (), "squash": True, "state_dependent_std": True},
    {"hidden": (16,), "observation_limit": 2.5},
    {"hidden": (16,), "activation": "tanh", "observation_limit": UNLIMITED},
]


@pytest.mark.parametrize("population", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_has_the_definition_s_bits(kind, population):
    policy = small_policy(population=population, **kind)
    policy.set_normalization(torch.linspace(-1, 1, 7), torch.linspace(0.2, 2, 7))
    state = {name: value.numpy() for name, value in policy.state_dict().items()}
    parameters = Parameters.from_state(policy.architecture, state)
    compiled, rng = CompiledPolicies(parameters), np.random.default_rng(0)
    for batch in (1, 2, 5, 32, 33, 70):
        observations = (3 * rng.standard_normal((population, batch, 7))).astype(np.float32)
        drawn = rng.standard_normal((population, batch, 2)).astype(np.float32)
        for noise in (None, drawn):
            defined = forward_definition.act(parameters, observations, noise, 0.7)
            assert compiled.act(observations, noise, 0.7).tobytes() == defined.tobytes()
            with torch.inference_mode():
                mean, log_std = policy(torch.from_numpy(observations))
                if noise is not None:
                    mean = mean + 0.7 * log_std.exp() * torch.from_numpy(noise)
                np.testing.assert_allclose(defined, policy.to_action(mean).numpy(), atol=5e-6)


def test_tanh_and_exp_are_close_to_the_true_ones():
    values = np.concatenate([np.linspace(-12, 12, 100_001), np.geomspace(1e-30, 1, 1000)]).astype(np.float32)
    np.testing.assert_allclose(forward_definition.tanh(values), np.tanh(values.astype(np.float64)), atol=5e-7)
    np.testing.assert_allclose(forward_definition.exp(values), np.exp(values.astype(np.float64)), rtol=1e-7)


def test_act_sees_changed_weights():
    policy = small_policy()
    states = np.ones((2, 7), dtype=np.float32)
    before = policy.act(states)
    policy.biases[-1].data += 0.25  # not counted by PyTorch's version of a tensor
    assert not np.array_equal(policy.act(states), before)


def test_nan_is_not_hidden():
    policy = small_policy()
    policy.weights[0].data[0, 0, 0] = np.nan
    assert np.isnan(policy.act(np.ones((1, 7), dtype=np.float32))).all()


def test_the_machine_code_has_no_fused_multiply_add(tmp_path):
    """In a process of its own: code that comes from Numba's cache cannot be read."""
    program = (
        "from prefine_ray.policies.forward_compiled import _act_all\n"
        "code = ''.join(_act_all.inspect_asm().values())\n"
        "print(code.count('mulps') > 0, 'vfm' in code or 'vfnm' in code)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["True", "False"]


UNCACHED = """
import numpy as np
from prefine_ray.policies import forward_compiled, forward_definition
from tests.makers import small_policy
policy = small_policy(hidden=(8,))
state = {name: value.numpy() for name, value in policy.state_dict().items()}
parameters = forward_definition.Parameters.from_state(policy.architecture, state)
observations = np.random.default_rng(0).standard_normal((1, 5, 7)).astype(np.float32)
actions = forward_compiled.CompiledPolicies(parameters).act(observations, None, 1.0)
cache = forward_compiled._act_all._cache
print(forward_compiled.__file__, type(cache).__name__, cache.cache_path)
print(np.array_equal(actions, forward_definition.act(parameters, observations, None, 1.0)))
"""


def test_the_kernel_works_where_no_cache_can_be_written(tmp_path):
    """Files stand where each of Numba's cache folders would be made: root, too, cannot write there."""
    root = Path(__file__).parents[2]
    package = tmp_path / "prefine_ray"
    shutil.copytree(root / "prefine_ray", package, ignore=shutil.ignore_patterns("__pycache__", "zoo", "analysis"))
    for name in ("prefine_ray/policies/__pycache__", "nowhere"):
        (tmp_path / name).touch()
    nowhere = str(tmp_path / "nowhere" / "below")
    places = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME"), nowhere)
    environment = {**os.environ, **places, "PYTHONPATH": f"{tmp_path}:{root}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", UNCACHED]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{package / 'policies' / 'forward_compiled.py'} NullCache None", "True"]

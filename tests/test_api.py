import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import prefine_ray as pr
from tests.makers import small_policy


@pytest.mark.parametrize("name", pr.__all__)
def test_every_public_name_loads(name):
    assert getattr(pr, name) is not None


def test_predict_takes_one_observation_or_a_batch():
    policy = small_policy()
    batch = np.random.default_rng(0).normal(size=(5, policy.architecture.obs_dim)).astype(np.float32)
    actions, state = policy.predict(batch)
    assert state is None
    assert np.array_equal(actions, policy.act(batch))
    assert np.array_equal(policy.predict(batch[2])[0], policy.act(batch[2:3])[0])


EXAMPLE = Path(__file__).parents[1] / "examples" / "finetune.py"


def test_every_public_name_is_listed():
    assert sorted(pr._PLACES) == sorted(pr.__all__)


def test_a_population_is_finetuned_and_evaluated():
    data = pr.collect("BallRun", episodes=40)
    sides = pr.split_preferences(data, 20, num_preferred=8, num_dispreferred=4, seed=1)
    again = pr.split_preferences(data, 20, num_preferred=8, num_dispreferred=4, seed=1)
    assert np.array_equal(sides.dispreferred, again.dispreferred)
    assert data.episode_costs[sides.preferred].max() <= 20 < data.episode_costs[sides.dispreferred].min()
    base, settings = small_policy(), pr.FineTuneSettings(steps=20, batch_size=16)
    selection = pr.SelectionSettings(rule="likely", share=0.5)
    tuned = pr.finetune(
        "BallRun", base, data, sides, weights=(0, 5), seeds=(0, 1), settings=settings, selection=selection
    )
    assert tuned.members == ((0.0, 0), (0.0, 1), (5.0, 0), (5.0, 1))
    assert set(tuned.curves["step"]) == {0, 19}
    alone = pr.finetune("BallRun", base, data, sides, weights=(5,), seeds=(1,), settings=settings, selection=selection)
    observations = data.observations[:9]
    found, expected = tuned.policy(5, 1).act(observations), alone.policies.act(observations)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - base.act(observations)).max() > 1e-3
    result = pr.evaluate(tuned.policy(5), "BallRun", episodes=3)
    assert (result["episodes"], len(result["costs"])) == (3, 3)
    with pytest.raises(KeyError, match="no member has weight 7"):
        tuned.policy(7)


def test_the_example_runs():
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["base", "reward"],
        ["weight", "0:"],
        ["weight", "5:"],
    ]

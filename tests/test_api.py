import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import prefine_ray as pr
from prefine_ray.analysis.rows import ResultsError
from prefine_ray.analysis.thresholds import task_order
from tests.analysis.synthetic import synthetic_episodes, write_results
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


ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "finetune.py"


def test_every_public_name_is_listed():
    assert sorted(pr._PLACES) == sorted(pr.__all__)
    assert set(pr.__all__) <= set(dir(pr))


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

    results = pr.evaluate_all(tuned, base, "BallRun", threshold=20, episodes=3)
    table = pr.result_table(results)
    assert table["method"].tolist() == ["base", "prefine", "prefine"]
    assert table["weight"].dropna().tolist() == [0.0, 5.0]
    assert table["chosen"].tolist() == [False, False, True]  # weight 0 is the control
    scores = [pr.evaluate(tuned.policy(5, seed), "BallRun", episodes=3) for seed in (0, 1)]
    expected = np.mean([score["normalized_cost"]["20"] for score in scores])
    row = table.iloc[2]
    assert row["normalized_cost"] == pytest.approx(expected)
    assert row["normalized_cost_low"] <= row["normalized_cost"] <= row["normalized_cost_high"]


def test_results_are_shown_in_python(tmp_path):
    episodes = synthetic_episodes(tasks=("BallRun", "HopperVelocity"))
    results = pr.load_results(write_results(tmp_path, episodes))
    table = pr.result_table(results)
    assert set(table["method"]) == {"base", "prefine"}
    figure = pr.plot_front(results)
    assert [axes.get_title().partition(",")[0] for axes in figure.axes] == task_order(table["task"])
    figure.savefig(tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ResultsError, match="no preferences of the kind 'worst'; there are"):
        pr.plot_front(results, preferred="worst")


def test_the_version_is_the_distribution_s():
    assert pr.__version__ == version("prefine-ray")


def test_the_example_runs(tmp_path):
    command = [sys.executable, str(EXAMPLE), str(tmp_path / "front.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["base", "reward"],
        ["weight", "0:"],
        ["weight", "5:"],
    ]
    assert (tmp_path / "front.png").stat().st_size > 10_000

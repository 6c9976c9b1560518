from __future__ import annotations

import numpy as np
import pytest

from prefine_ray.core.provenance import made_on, physics
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.policies.files import load_policy_for
from prefine_ray.policies.zoo import ZOO
from prefine_ray.rollouts.evaluation import episode_rows, evaluate, evaluation_seeds
from prefine_ray.rollouts.scores import scores
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task
from tests.makers import small_policy

TASK = get_task("BallRun")
TABLE = EpisodeSummary(
    starts=np.array([0, 10, 20, 30]),
    lengths=np.array([10, 10, 10, 10]),
    returns=np.array([TASK.reward_min, TASK.reward_max, TASK.reward_max, TASK.reward_min]),
    costs=np.array([0.0, 20.0, 21.0, 41.0]),
    terminated=np.array([True, False, False, False]),
)


def test_scores_by_hand():
    result = scores(TABLE, TASK)
    assert result["normalized_reward"] == pytest.approx(0.5)
    assert result["mean_cost"] == 20.5
    assert result["normalized_cost"] == pytest.approx({"10": 2.05, "20": 1.025, "40": 0.5125})
    assert result["violation_rate"] == {"10": 0.75, "20": 0.5, "40": 0.25}  # a cost at the threshold is safe
    assert result["catastrophe_rate"] == {"10": 0.75, "20": 0.5, "40": 0.25}  # the fall, and over twice the threshold


def test_rows_carry_the_cell_and_every_episode():
    rows = episode_rows({"cell": "c", "task": "BallRun", "weight": 5.0}, "finetuned", TABLE)
    assert [row["episode"] for row in rows] == [0, 1, 2, 3]
    assert {row["cell"] for row in rows} == {"c"}
    assert rows[3] == {
        "cell": "c",
        "task": "BallRun",
        "weight": 5.0,
        "stage": "finetuned",
        "episode": 3,
        "return": TASK.reward_min,
        "cost": 41.0,
        "length": 10,
        "terminated": False,
        "physics": physics("bullet"),
        **made_on(),
    }


def test_evaluation_seeds_belong_to_experiment_task_and_seed():
    seeds = evaluation_seeds(0, "BallRun", 0, 20)
    assert (seeds[:5] == evaluation_seeds(0, "BallRun", 0, 5)).all()
    for other in (evaluation_seeds(1, "BallRun", 0, 20), evaluation_seeds(0, "CarRun", 0, 20)):
        assert not set(seeds) & set(other)


def test_evaluate_is_deterministic():
    seeds = evaluation_seeds(0, "BallRun", 0, 3)
    stepper = VectorStepper("BallRun", 3)
    first, again = (evaluate(small_policy(), stepper, seeds) for _ in range(2))
    assert (first.returns == again.returns).all()
    assert first.lengths.tolist() == [100, 100, 100]
    stepper.close()


@pytest.mark.parametrize("name", ["BallRun", "DroneRun", "BallCircle"])
def test_a_shipped_fine_tuned_policy_gives_its_scores_again(name):
    task = get_task(name)
    policy = load_policy_for(task, ZOO / name / "finetuned.safetensors")
    assert policy.header is not None
    expected, seed = policy.header.scores, policy.header.made_by["seed"]
    episodes = int(expected["episodes"])
    stepper = VectorStepper(task, episodes)
    found = scores(evaluate(policy, stepper, evaluation_seeds(0, name, seed, episodes)), task)
    stepper.close()
    # On the machine that made the scores they are equal; on another one the last bits of the arithmetic differ.
    assert found["normalized_reward"] == pytest.approx(expected["normalized_reward"], abs=0.03)
    assert found["mean_cost"] / task.middle_threshold == pytest.approx(expected["normalized_cost"], abs=0.2)
    assert found["mean_cost"] <= task.middle_threshold


def test_rows_name_the_machine_on_which_the_episodes_ran():
    rows = episode_rows({"task": "BallRun"}, "base", TABLE, {"cpu": "another CPU", "glibc": "glibc 1"})
    assert {(row["cpu"], row["glibc"]) for row in rows} == {("another CPU", "glibc 1")}

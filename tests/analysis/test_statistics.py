from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import trim_mean

from prefine_ray.analysis.statistics.estimators import front_area, iqm, kept, mean, reduction
from prefine_ray.analysis.statistics.intervals import bootstrap_interval, resample_runs
from prefine_ray.rollouts.scores import is_catastrophe, is_violation

NAN = np.nan
SCORES = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, NAN]])  # the second task has two runs


def test_mean_weighs_tasks_the_same():
    assert mean(SCORES) == pytest.approx((2.0 + 15.0) / 2)


def test_iqm_cuts_a_quarter_of_the_runs_from_each_end():
    assert iqm(SCORES) == pytest.approx((2.0 + 3.0 + 10.0) / 3)  # of 1 2 3 10 20 one is cut at each end


def test_iqm_is_the_trimmed_mean_of_scipy():
    scores = np.random.default_rng(0).normal(size=(7, 10))
    assert iqm(scores) == pytest.approx(trim_mean(scores, 0.25, axis=None))


def test_front_area_by_hand():
    rewards, costs = np.array([[0.5, 0.9, 0.4], [1.2, -1.0, 0.3]]), np.array([[0.2, 1.0, 0.6], [-0.1, 0.0, 3.0]])
    # 0.5 from cost 0.2 to 1, 0.9 from there to 2 (0.4 at 0.6 is dominated); beyond reward 1 nothing is gained
    np.testing.assert_allclose(front_area(rewards, costs), [(0.5 * 0.8 + 0.9 * 1.0) / 2, 1.0])
    assert front_area(np.array([0.9]), np.array([2.5])) == 0.0


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_statistics_keep_leading_axes(statistic):
    stack = np.stack([SCORES, SCORES + 1.0, SCORES * 2.0])
    np.testing.assert_allclose(statistic(stack), [statistic(scores) for scores in stack])


def test_resampling_stays_within_tasks_and_keeps_their_number_of_runs():
    resampled = resample_runs(SCORES, 500, np.random.default_rng(1))
    assert resampled.shape == (500, 3, 2)
    assert set(np.unique(resampled[:, :, 0])) == {1.0, 2.0, 3.0}
    assert set(np.unique(resampled[:, :2, 1])) == {10.0, 20.0}
    assert np.isnan(resampled[:, 2, 1]).all()
    drawn = [(resampled[:, :, 0] == value).mean() for value in (1.0, 2.0, 3.0)]
    np.testing.assert_allclose(drawn, 1 / 3, atol=0.05)


def test_interval_of_two_runs_spans_them():
    # the mean of two draws of {0, 1} is 0 or 1 a quarter of the time each, far over the 2.5 % tails
    assert bootstrap_interval(np.array([[0.0], [1.0]]), mean, np.random.default_rng(0)) == (0.0, 1.0)


def test_interval_depends_on_the_generator_alone():
    scores = np.random.default_rng(2).normal(size=(5, 3))
    first, again, other = (bootstrap_interval(scores, mean, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert first == again
    assert first != other


def test_a_single_run_has_no_interval():
    assert np.isnan(bootstrap_interval(np.array([[0.3, 0.4]]), mean, np.random.default_rng(0))).all()


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_intervals_cover_the_truth_about_as_often_as_they_say(statistic):
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(300):
        low, high = bootstrap_interval(rng.normal(size=(10, 3)), statistic, rng, replicates=400)
        covered.append(low <= 0.0 <= high)
    assert 0.87 <= np.mean(covered) <= 0.98  # percentile intervals of ten runs are a little narrow


def test_violations_and_catastrophes():
    costs, fell = np.array([20.0, 21.0, 40.0, 41.0, 0.0]), np.array([False, False, False, False, True])
    assert is_violation(costs, 20.0).tolist() == [False, True, True, True, False]
    assert is_catastrophe(costs, fell, 20.0).tolist() == [False, False, False, True, True]
    assert is_violation([0.0, 1.0], 0.0).tolist() == [False, True]


def test_reduction_and_reward_kept():
    np.testing.assert_allclose(reduction([0.2, 0.9, 0.0], [0.8, 0.6, 0.0]), [0.75, -0.5, NAN])
    np.testing.assert_allclose(kept([0.4, 0.4, 0.4], [0.8, -0.1, 0.0]), [0.5, NAN, NAN])

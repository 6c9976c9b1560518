from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.coverage import LAWS, coverage, one_task
from prefine_ray.analysis.statistics.estimators import dominated_area, iqm, kept, mean, reduction
from prefine_ray.analysis.statistics.intervals import holm, jackknife_limits, t_limits, t_test

NAN = np.nan
SCORES = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, NAN]])  # the second task has two runs


def test_mean_weighs_tasks_the_same():
    assert mean(SCORES) == pytest.approx((2.0 + 15.0) / 2)


def test_iqm_cuts_a_quarter_of_the_runs_from_each_end():
    assert iqm(SCORES) == pytest.approx((2.0 + 3.0 + 10.0) / 3)  # of 1 2 3 10 20 one is cut at each end


@pytest.mark.parametrize("shape", [(5, 10), (7, 3), (2, 1)])
def test_iqm_is_the_trimmed_mean_of_scipy(shape: tuple[int, int]):
    scores = np.random.default_rng(0).normal(size=shape)
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))  # rliable's aggregate_iqm


def test_dominated_area_by_hand():
    # reward 1.2 counts as 1 and cost -0.1 as 0; beyond cost 2 nothing is left
    found = dominated_area([0.5, 0.9, 1.2, 0.9, -1.0], [0.5, 1.0, -0.1, 2.5, 0.0])
    np.testing.assert_allclose(found, [0.5 * 0.75, 0.9 * 0.5, 1.0, 0.0, 0.0])


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_statistics_keep_leading_axes(statistic):
    stack = np.stack([SCORES, SCORES + 1.0, SCORES * 2.0])
    np.testing.assert_allclose(statistic(stack), [statistic(scores) for scores in stack])
    np.testing.assert_allclose(
        np.transpose(jackknife_limits(stack, statistic)), [jackknife_limits(scores, statistic) for scores in stack]
    )


def test_t_limits_and_tests_are_those_of_scipy():
    samples = [np.random.default_rng(n).gamma(2.0, 0.5, n) for n in (2, 3, 5, 10)]
    found = [np.array([f(sample) for sample in samples]) for f in (np.mean, lambda x: np.std(x, ddof=1), len)]
    expected = [stats.ttest_1samp(sample, 0.0).confidence_interval(0.95) for sample in samples]
    np.testing.assert_allclose(np.transpose(t_limits(*found)), expected)
    np.testing.assert_allclose(t_test(*found), [stats.ttest_1samp(sample, 0.0).pvalue for sample in samples])


def test_a_single_run_has_neither_interval_nor_p_value():
    assert np.isnan(t_limits([0.3], [NAN], [1])).all()
    assert np.isnan(t_test([0.3], [NAN], [1])).all()
    assert np.isnan(jackknife_limits(np.array([[0.3, 0.4], [0.2, NAN]]), mean)).all()  # one task has one run


def test_differences_that_do_not_vary():
    assert t_test([0.0, 0.2], [0.0, 0.0], [5, 5]).tolist() == [1.0, 0.0]
    np.testing.assert_array_equal(t_limits([0.2], [0.0], [5]), [[0.2], [0.2]])


def test_the_jackknife_of_a_mean_is_the_t_interval_of_the_replicates_means():
    scores = np.random.default_rng(2).gamma(2.0, 0.5, (5, 7))
    expected = stats.ttest_1samp(scores.mean(axis=1), 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(jackknife_limits(scores, mean), expected)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.4, NAN, 0.01]), [0.4, NAN, 0.02])  # NaN is no test
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).tolist() == []


@pytest.mark.parametrize("replicates", [3, 5, 10])
@pytest.mark.parametrize(("statistic", "shared"), [(one_task, 0.0), (mean, 0.0), (mean, 0.5), (iqm, 0.0)])
def test_intervals_of_skewed_costs_cover_the_truth_and_more_often_than_the_bootstrap(statistic, shared, replicates):
    ours, bootstrap = coverage(LAWS["gamma, skewness 1.4"], replicates, statistic, shared, samples=600)
    assert 0.90 <= ours <= 0.98
    assert ours > bootstrap


def test_reduction_and_reward_kept():
    np.testing.assert_allclose(reduction([0.2, 0.9, 0.0], [0.8, 0.6, 0.0]), [0.75, -0.5, NAN])
    np.testing.assert_allclose(kept([0.4, 0.4, 0.4], [0.8, -0.1, 0.0]), [0.5, NAN, NAN])

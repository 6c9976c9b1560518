"""Files as the published ones are made: what FSRL's collector and trajectory buffer write is read, odd or not."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from prefine_ray.data.download import fetch
from prefine_ray.data.hdf5 import TrajectoryFileError, check_dsrl, read_dsrl, read_summary
from prefine_ray.data.plausibility import ImpossibleDataError, cost_doubt
from prefine_ray.data.preferences import split_by_threshold
from prefine_ray.data.trajectories import Trajectories, concatenate
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task
from tests.makers import ball_run_episodes, small_policy


def as_published(episodes: Trajectories, adjacent: bool = True) -> dict[str, np.ndarray]:
    """The arrays as FSRL 0.1 stores them, in a collector's types.

    After an episode its collector resets the environment, then puts the last successor in the place of the first
    observation. `adjacent`: whether the episodes follow one another as they were made, or were thinned out.
    """
    arrays = {name: np.array(getattr(episodes, name)) for name in ("observations", "next_observations", "actions")}
    order = np.arange(len(episodes)) - 1 if adjacent else np.arange(len(episodes)) - 2
    ends = episodes.starts + episodes.lengths - 1
    arrays["observations"][episodes.starts[1:]] = arrays["next_observations"][ends[order[1:]]]
    arrays["rewards"] = episodes.rewards.astype(np.float64)  # from Python's numbers
    arrays["costs"] = episodes.costs.astype(np.float64)
    arrays["terminals"], arrays["timeouts"] = episodes.terminals, episodes.timeouts
    return arrays


def write(path: Path, arrays: dict[str, np.ndarray], **options) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **(options or {"compression": "gzip"}))
    return path


@pytest.mark.parametrize("adjacent", [True, False])
@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"chunks": None}, {"chunks": True, "shuffle": True}])
def test_a_file_of_the_published_collector_is_read(tmp_path, caplog, adjacent, options):
    episodes = ball_run_episodes()
    path = write(tmp_path / "x.hdf5", as_published(episodes, adjacent), **options)
    check_dsrl(path, "BallRun")
    assert ("episodes end in the observation that the next one begins with" in caplog.text) == adjacent
    found = read_dsrl(path, "BallRun")
    np.testing.assert_array_equal(found.actions, np.clip(episodes.actions, -1, 1))
    np.testing.assert_array_equal(read_summary(path, "BallRun").costs, episodes.episode_costs)


@pytest.mark.parametrize("task", ["HopperVelocity", "CarCircle"])
def test_files_of_episodes_that_fall_and_of_other_suites_are_read(tmp_path, task):
    stepper = VectorStepper(task, 3)
    episodes = rollout(small_policy(task), stepper, np.arange(6), noise_seed=1)
    stepper.close()
    if task == "HopperVelocity":
        assert episodes.terminals.any()  # they end early
    check_dsrl(write(tmp_path / "x.hdf5", as_published(episodes)), task)


def test_types_and_shapes_that_tools_write_are_read(tmp_path):
    arrays = as_published(ball_run_episodes())
    arrays["rewards"], arrays["costs"] = arrays["rewards"][:, None], arrays["costs"][:, None].astype(np.int64)
    arrays["terminals"] = arrays["terminals"][:, None].astype(np.float32)
    arrays["timeouts"] = arrays["timeouts"].astype(np.uint8)
    arrays["observations"] = arrays["observations"].astype(np.float64)
    path = write(tmp_path / "x.hdf5", arrays)
    with h5py.File(path, "r+") as file:
        file["infos/of/the/author"] = "text"
    check_dsrl(path, "BallRun")


@pytest.mark.parametrize("excess", [1e-6, 0.4, 30.0])
def test_actions_out_of_range_are_clipped_and_counted(tmp_path, caplog, excess):
    arrays = as_published(ball_run_episodes())
    arrays["actions"][::100, 1] = -1 - excess
    path = write(tmp_path / "x.hdf5", arrays)
    check_dsrl(path, "BallRun")
    assert f"{path}: the actions of 8 steps are outside of [-1, 1] and are clipped" in caplog.text
    assert read_dsrl(path, "BallRun").actions.min() == -1.0


def test_a_published_file_that_is_there_is_used_and_split(tmp_path):
    episodes = concatenate([ball_run_episodes()] * 4)
    write(tmp_path / get_task("BallRun").dsrl_file, as_published(episodes))
    path = fetch("BallRun", tmp_path, "http://127.0.0.1:9")
    summary = read_summary(path, "BallRun")
    threshold = float(np.median(summary.costs))
    sets = split_by_threshold(
        summary, threshold, num_preferred=3, num_dispreferred=3, rng=np.random.default_rng(0), margin=1.0
    )
    assert len(sets.preferred) == 3


def test_rows_that_are_missing_are_told(tmp_path, caplog):
    arrays = as_published(ball_run_episodes())
    kept = np.flatnonzero(np.arange(len(arrays["rewards"])) % 50 != 20)
    check_dsrl(write(tmp_path / "x.hdf5", {name: values[kept] for name, values in arrays.items()}), "BallRun")
    assert "16 of 776 steps inside episodes lead elsewhere than to the next row" in caplog.text


def test_costs_that_only_rise_are_told_and_counts_that_were_summed_up_refused():
    starts = np.array([0, 4, 8])
    fuel = np.array([0.5, 0.7, 1.2, 1.9] * 3, dtype=np.float32)
    assert "if it is summed up" in cost_doubt(fuel, starts)
    counts = np.array([0, 1, 1, 2] * 3, dtype=np.float32)
    with pytest.raises(ImpossibleDataError, match="summed up"):
        cost_doubt(counts, starts)
    assert cost_doubt(np.array([0, 1, 2, 1] * 3, dtype=np.float32), starts) is None  # two hazards at once
    assert cost_doubt(np.array([0, 0, 1, 1] * 3, dtype=np.float32), starts) is None


def test_a_negative_cost_is_refused(tmp_path):
    arrays = as_published(ball_run_episodes())
    arrays["costs"][5] = -0.5
    with pytest.raises(TrajectoryFileError, match=r"'costs' has -0\.5 in row 5; a step costs 0 or more"):
        read_summary(write(tmp_path / "x.hdf5", arrays), "BallRun")

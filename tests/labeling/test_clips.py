from __future__ import annotations

from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pytest

from prefine_ray.labeling.clips import ClipError, OwnVideos, ReplayedClips
from prefine_ray.rollouts.replay import ReplayError, replay
from prefine_ray.tasks.spec import get_task
from tests.makers import ball_run_episodes

TASK = get_task("BallRun")


def test_a_stored_episode_is_drawn_once_and_kept(tmp_path):
    asked = []

    def episode(number):
        asked.append(number)
        return ball_run_episodes().select([number])

    clips = ReplayedClips(TASK, episode, tmp_path, most_frames=3)
    clips.prepare([2])
    path = clips.file(2)
    clips.close()
    assert asked == [2]
    frames = iio.imread(path)
    assert len(frames) == 3
    assert frames[0].std() > 0
    before = path.stat().st_mtime_ns
    again = ReplayedClips(TASK, episode, tmp_path, most_frames=3)
    assert again.file(2) == path
    again.close()
    assert path.stat().st_mtime_ns == before
    with_cost = ReplayedClips(TASK, episode, tmp_path, most_frames=3, threshold=20.0)
    assert with_cost.file(2) != path
    with_cost.close()


def test_the_last_picture_is_of_the_last_step_and_cost_stands_in_it_only_when_asked_for():
    episode = ball_run_episodes().select([0])  # its cost is 26
    plain, told = (replay(TASK, episode, 2, threshold) for threshold in (None, 20.0))
    assert len(plain) == len(told) == 2
    assert (plain[1] != told[1]).any()
    np.testing.assert_array_equal(plain[1][30:-8, 8:-8], told[1][30:-8, 8:-8])  # but for the text and the border


def test_what_cannot_be_replayed_is_an_error_that_says_what_to_do():
    episode = ball_run_episodes().select([0])
    with pytest.raises(ReplayError, match=r"no reset seeds.*--videos"):
        replay(TASK, replace(episode, seeds=None), 1)
    with pytest.raises(ReplayError, match=r"step \d: .* off the stored one.*--videos"):
        replay(TASK, replace(episode, actions=-episode.actions), 1)


def test_own_videos_are_found_by_the_number_at_the_end(tmp_path):
    for name in ("episode-12.mp4", "3.webm", "notes.txt", "no number.mp4"):
        (tmp_path / name).write_bytes(b"x")
    videos = OwnVideos(tmp_path, 20)
    assert videos.trajectories == [3, 12]
    assert videos.file(12).name == "episode-12.mp4"
    with pytest.raises(ClipError, match="no video of trajectory 4"):
        videos.file(4)
    with pytest.raises(ClipError, match=r"episode-12.mp4: the data have trajectories 0 to 9"):
        OwnVideos(tmp_path, 10)
    (tmp_path / "other-3.mp4").write_bytes(b"x")
    with pytest.raises(ClipError, match="is of trajectory 3, too"):
        OwnVideos(tmp_path, 20)


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(ClipError, match="no video"):
        OwnVideos(tmp_path, 5)
    with pytest.raises(ClipError, match="no such folder"):
        OwnVideos(tmp_path / "none", 5)

from __future__ import annotations

import imageio.v3 as iio
import pytest

from prefine_ray.core.seeding import torch_generator
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy
from prefine_ray.rollouts.video import RenderError, render_episode
from prefine_ray.tasks.spec import get_task

TASK = get_task("BallRun")


def policy() -> GaussianPolicy:
    return GaussianPolicy(Architecture(TASK.obs_dim, TASK.act_dim, (8,)), generator=torch_generator(0))


def test_gif_has_one_frame_per_step_and_moves(tmp_path):
    path = render_episode(policy(), TASK, tmp_path / "ball.gif", seed=0, threshold=20.0, steps=12)
    frames = iio.imread(path)
    assert len(frames) == 12
    assert frames[0].std() > 0
    assert (frames[0] != frames[-1]).any()


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(RenderError, match=r"\.webp or \.mp4"):
        render_episode(policy(), TASK, tmp_path / "ball.avi", seed=0, threshold=20.0)

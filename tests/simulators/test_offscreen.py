"""Pictures without a display."""

from __future__ import annotations

import numpy as np
import pytest

from prefine_ray.simulators.offscreen import RenderingUnavailableError
from prefine_ray.simulators.velocity import VelocityBatch
from prefine_ray.tasks.spec import get_task


def test_a_gl_backend_that_does_not_exist_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "crayons")
    batch = VelocityBatch(get_task("HopperVelocity"), 1)
    with pytest.raises(RenderingUnavailableError, match=r"'crayons'.*libegl1"):
        batch.render(0)
    batch.close()


def test_pictures_show_the_copy_asked_for_or_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    batch = VelocityBatch(get_task("AntVelocity"), 2)
    for index in range(2):
        batch.reset(index, index)
    message, frames = "", []
    try:
        frames = [batch.render(index) for index in (0, 1, 0)]
    except RenderingUnavailableError as error:  # a machine without GL
        message = str(error)
    finally:
        batch.close()
        batch.close()
    if not frames:
        assert "MUJOCO_GL=egl" in message
        assert "apt install" in message
        return
    assert frames[0].shape == (480, 480, 3)
    assert frames[0].dtype == np.uint8
    assert frames[0].std() > 10
    assert not np.array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], frames[2])

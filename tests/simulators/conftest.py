from __future__ import annotations

import os

import pytest

from prefine_ray.simulators.offscreen import OffscreenRenderer, RenderingUnavailableError
from prefine_ray.simulators.upstream import mujoco

REQUIRED = "PREFINE_RENDERING"  # set to "required" where a missing OpenGL is a failure: in .ci/run


@pytest.fixture
def opengl() -> None:
    """For tests that draw with OpenGL; a bare machine has none, and the reason says what to install."""
    try:
        OffscreenRenderer(mujoco.MjModel.from_xml_string("<mujoco/>"), mujoco.MjvCamera()).close()
    except RenderingUnavailableError as error:
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(str(error))
        pytest.skip(str(error))

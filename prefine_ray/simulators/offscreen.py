"""Pictures of MuJoCo simulations without a display; nothing of GL is loaded before the first one."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.simulators.upstream import mujoco

WIDTH, HEIGHT = 480, 480
_BACKENDS = ("egl", "osmesa", "glfw")
_REMEDY = (
    "Install an OpenGL library for headless drawing and name it in the environment: "
    "`apt install libegl1 libgles2` with MUJOCO_GL=egl (the default without a display), "
    "or `apt install libosmesa6` with MUJOCO_GL=osmesa."
)


class RenderingUnavailableError(PrefineError, RuntimeError):
    """No GL backend could be opened; the message says which was tried and what to install."""


def tracking_camera(body: int, distance: float, azimuth: float, elevation: float) -> mujoco.MjvCamera:
    """A camera that follows a body from `distance` (m), angles in degrees."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
    camera.trackbodyid = body
    camera.distance, camera.azimuth, camera.elevation = distance, azimuth, elevation
    return camera


def fixed_camera(model: mujoco.MjModel, name: str) -> mujoco.MjvCamera:
    """The camera of this name in the model."""
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, name)
    return camera


class OffscreenRenderer:
    """Draws simulations of one model.

    Raises:
        RenderingUnavailableError: there is no GL backend.
    """

    def __init__(self, model: mujoco.MjModel, camera: mujoco.MjvCamera):
        model.vis.global_.offwidth, model.vis.global_.offheight = WIDTH, HEIGHT
        self._model, self._camera = model, camera
        self._gl, self._context = _open_gl_context(model)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = 1

    def render(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        """A picture [HEIGHT, WIDTH, 3] of this state, whose positions must be up to date (mj_forward)."""
        rect = mujoco.MjrRect(0, 0, WIDTH, HEIGHT)
        self._gl.make_current()
        mujoco.mjv_updateScene(
            self._model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(rect, self._scene, self._context)
        frame = np.empty((HEIGHT, WIDTH, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(frame, None, rect, self._context)
        return np.flipud(frame).copy()

    def close(self) -> None:
        """Free the GL context; closing twice is allowed."""
        self._context.free()
        self._gl.free()


def _open_gl_context(model: mujoco.MjModel) -> tuple[Any, mujoco.MjrContext]:
    """A GL context and MuJoCo's in it, of the backend in MUJOCO_GL; by default egl, and glfw where there is a display.

    Raises:
        RenderingUnavailableError: there is no such backend.
    """
    on_screen = sys.platform != "linux" or bool(os.environ.get("DISPLAY"))
    backend = os.environ.get("MUJOCO_GL", "").strip().lower() or ("glfw" if on_screen else "egl")
    if backend not in _BACKENDS:
        raise RenderingUnavailableError(
            f"MUJOCO_GL is {backend!r}; it must be one of {', '.join(_BACKENDS)}. {_REMEDY}"
        )
    try:
        gl = importlib.import_module(f"mujoco.{backend}").GLContext(WIDTH, HEIGHT)
        gl.make_current()
        return gl, mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    except Exception as error:  # each backend fails in its own way: ImportError, AttributeError, GLError, ...
        raise RenderingUnavailableError(f"cannot draw pictures with MUJOCO_GL={backend}: {error}. {_REMEDY}") from error

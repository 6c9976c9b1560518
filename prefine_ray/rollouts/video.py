"""A GIF or MP4 of an episode, drawn without a display, with reward, cost and violations written in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import atomic_path
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.simulators import make_env
from prefine_ray.tasks.spec import Task

_FRAME_MS = 50  # per frame of an animation
_MOST_FRAMES = 250
ENDINGS = (".gif", ".webp", ".mp4")  # an animated WebP has a tenth of a GIF's size
_RED, _BLACK, _WHITE = (200, 30, 30), (0, 0, 0), (255, 255, 255)


class RenderError(PrefineError, ValueError):
    """The picture cannot be made as asked."""


def render_episode(
    policy: GaussianPolicy,
    task: Task,
    path: Path,
    seed: int,
    threshold: float,
    steps: int | None = None,
    width: int | None = None,
    most_frames: int = _MOST_FRAMES,
) -> Path:
    """Draws one deterministic episode.

    Args:
        policy: a population of one.
        task: the task.
        path: ends as one of ENDINGS.
        seed: reset seed.
        threshold: cost threshold; the text turns red when the episode's cost is over it.
        steps: at most this many steps; None for the whole episode.
        width: of the picture in pixels; None as it is drawn.
        most_frames: a longer episode skips steps between frames.

    Raises:
        RenderError: another file ending.
    """
    _check_ending(path)
    steps = min(steps or task.horizon, task.horizon)
    return write_frames(path, _frames(policy, task, seed, threshold, steps, width, most_frames))


def write_frames(path: Path, frames: Sequence[NDArray[np.uint8]]) -> Path:
    """Writes pictures [height, width, 3] as an animation, 20 of them to a second.

    Raises:
        RenderError: another file ending.
    """
    _check_ending(path)
    options: dict[str, Any] = {"duration": _FRAME_MS, "loop": 0}
    if path.suffix == ".mp4":
        options = {"fps": 1000 // _FRAME_MS, "plugin": "FFMPEG", "macro_block_size": 2}
    if path.suffix == ".webp":
        options |= {"quality": 40, "method": 4}
    with atomic_path(path) as temporary:
        iio.imwrite(temporary, np.stack(frames), **options)
    return path


def _check_ending(path: Path) -> None:
    if path.suffix not in ENDINGS:
        raise RenderError(f"{path}: the file must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")


def _narrowed(frame: NDArray[np.uint8], width: int | None) -> NDArray[np.uint8]:
    if width is None:
        return frame
    picture = Image.fromarray(frame)
    return np.asarray(picture.resize((width, round(width * picture.height / picture.width))))


def _frames(
    policy: GaussianPolicy,
    task: Task,
    seed: int,
    threshold: float,
    steps: int,
    width: int | None,
    most_frames: int,
) -> list[NDArray[np.uint8]]:
    env = make_env(task, render_mode="rgb_array")
    observation, _ = env.reset(seed=seed)
    every = math.ceil(steps / most_frames)
    total_reward = total_cost = 0.0
    frames = []
    for step in tqdm(range(steps), f"render {task.name}", unit="step", leave=False):
        observation, reward, terminated, truncated, info = env.step(policy.act(observation[None])[0])
        total_reward, total_cost = total_reward + float(reward), total_cost + float(info["cost"])
        if step % every == 0 or terminated or truncated:
            text = f"step {step + 1}   return {total_reward:.1f}   cost {total_cost:.0f} / {threshold:g}"
            picture = env.render()
            assert picture is not None  # in render mode rgb_array
            frames.append(with_text(_narrowed(picture, width), text, info["cost"] > 0, total_cost > threshold))
        if terminated or truncated:
            break
    env.close()
    return frames


def with_text(frame: NDArray[np.uint8], text: str, costs: bool, over: bool) -> NDArray[np.uint8]:
    """The frame with a line of text; a red border on steps that cost, red text once over the threshold."""
    picture = Image.fromarray(frame)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, picture.width, 18), fill=_WHITE)
    draw.text((4, 3), text + ("   VIOLATED" if over else ""), fill=_RED if over else _BLACK)
    if costs:
        draw.rectangle((0, 0, picture.width - 1, picture.height - 1), outline=_RED, width=4)
    return np.asarray(picture)

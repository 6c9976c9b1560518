"""The configurations that come with the package, known by name from any folder."""

from __future__ import annotations

import difflib
from pathlib import Path

import prefine_ray
from prefine_ray.experiment.config import ConfigError


def shipped_configs() -> dict[str, Path]:
    """The shipped files by name, as `quick` for quick.yaml."""
    folder = Path(prefine_ray.__file__).parent / "tune_configs"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_config(name: str | Path) -> Path:
    """A file of this name, or else the shipped configuration of this name, with or without `.yaml`.

    Raises:
        ConfigError: there is neither; the message lists the shipped ones.
    """
    path, shipped = Path(name), shipped_configs()
    if path.is_file():
        return path
    if str(name).removesuffix(".yaml") in shipped:
        return shipped[str(name).removesuffix(".yaml")]
    near = difflib.get_close_matches(path.stem, shipped, n=2)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ConfigError(f"{name}: no such file, and no shipped configuration.{hint} Shipped: {', '.join(shipped)}")

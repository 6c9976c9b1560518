"""Whether Ray works on this machine."""

from __future__ import annotations

import time

import ray

from prefine_ray.core.errors import last_line
from prefine_ray.orchestration.cluster import ClusterError, connect


def start_ray() -> str:
    """Starts a local Ray, runs one task there, stops it, and says how long that took.

    Raises:
        ClusterError: it does not start, or runs no task.
    """
    begun = time.monotonic()
    try:
        connect("local")
        assert ray.get(ray.remote(lambda: 1).remote(), timeout=120) == 1
    except Exception as error:  # Ray raises no narrower one
        raise ClusterError(f"Ray {ray.__version__} does not run here: {last_line(str(error))}") from error
    finally:
        ray.shutdown()
    return f"{ray.__version__} ran a task after {time.monotonic() - begun:.0f} s"

"""MLflow's own system metrics (CPU, memory, disk, network, GPU) of the driver's machine, on the parent run."""

from __future__ import annotations

import logging
from typing import Any

from prefine_ray.tracking.store import apply_settings


def wants_system_metrics() -> bool:
    """Whether MLflow's own switch, MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING, is on."""
    from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING

    return bool(MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get())


def start_monitor(run: str, uri: str) -> Any:
    """A thread that logs to a run every ten seconds until it is told to `finish`, or the store is away.

    MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL and MLflow's other variables for it are heeded.
    """
    apply_settings()
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)  # its messages hold addresses
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor

"""MLflow's pages of a results folder, on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.password_mask import encode_user, mask
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.store import apply_settings, local_path, local_uri, tracking_uri


class ServeError(PrefineError, RuntimeError):
    """MLflow's pages cannot be shown; the message says the remedy."""


def serve(results: ResultsDir, port: int = 5000) -> None:
    """Shows MLflow's pages of a results folder on 127.0.0.1 until Ctrl-C (or SIGTERM), which ends all its processes.

    Where MLFLOW_TRACKING_URI names a server, only its address is printed.

    Raises:
        ServeError: the folder has no MLflow store, or the port is taken.
    """
    uri = encode_user(tracking_uri(results))
    if uri.startswith("http"):
        print(f"MLflow runs at {mask(uri)} (MLFLOW_TRACKING_URI)")
        return
    store = local_path(results)
    if uri == local_uri(results) and not store.exists():
        raise ServeError(f"{store}: no runs here yet; `prefine sync {results.root}` sends results to MLflow")
    _check_port(port)
    apply_settings()
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # not as an option: it may hold a password, which ps would show
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *options, "--uvicorn-opts", "--log-level warning"]
    print(f"MLflow opens at http://127.0.0.1:{port} in a few seconds; Ctrl-C ends it", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = subprocess.Popen(command, start_new_session=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServeError(f"port {port} of 127.0.0.1 is taken; choose another with --port") from error

"""cluster/local.sh: real Ray nodes on this machine, behind a token, of which one is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlflow_store import free_port

SCRIPT = Path(__file__).parents[2] / "cluster" / "local.sh"

JOIN = """
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
print(sum(node["Alive"] for node in ray.nodes()), int(ray.cluster_resources()["CPU"]))
"""


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """Of a cluster with a folder, a port and a token of its own."""
    with tempfile.TemporaryDirectory(prefix="local-") as folder:  # a short path: Ray puts sockets there
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        own = {"RAY_PORT": str(free_port()), "RAY_AUTH_TOKEN": "a-token-of-this-test-with-enough-characters"}
        tools = {"RAY": str(Path(sys.executable).parent / "ray"), "PREFINE_LOCAL_CLUSTER": f"{folder}/cluster"}
        environment = {**kept, **own, **tools}
        yield environment
        subprocess.run([str(SCRIPT), "down"], env=environment, check=True)


def join(environment: dict[str, str], **changes: str) -> subprocess.CompletedProcess[str]:
    """What a driver sees that joins the cluster: alive nodes and their CPUs."""
    address = {"RAY_ADDRESS": f"127.0.0.1:{environment['RAY_PORT']}", "RAY_AUTH_MODE": "token"}
    return subprocess.run(
        [sys.executable, "-c", JOIN],
        env={**environment, **address, **changes},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.faults
def test_nodes_come_up_behind_a_token_and_one_is_lost(environment: dict[str, str]) -> None:
    subprocess.run([str(SCRIPT), "up", "2", "1"], env=environment, check=True)
    found = join(environment)
    assert found.stdout.split() == ["2", "2"], found.stderr
    refused = join(environment, RAY_AUTH_TOKEN="another-token-with-enough-characters-in-it")
    assert refused.returncode != 0
    assert "Authentication" in refused.stderr
    subprocess.run([str(SCRIPT), "stop", "2"], env=environment, check=True)
    assert join(environment).stdout.split() == ["1", "1"]

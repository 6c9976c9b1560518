"""Several real Ray nodes on one machine: `ray start`, each in its own process tree, some as hosts of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults import processes

RAY = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
MEMORY = ["--object-store-memory", "100000000"]
PORTS = ["--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a user who has set nothing of Ray's or MLflow's."""
    left_out = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    return {**{k: v for k, v in os.environ.items() if k not in left_out}, **changes}


@dataclass
class Node:
    """One raylet with its workers."""

    name: str
    process: subprocess.Popen

    def kill(self) -> None:
        """Everything on it at once, as when a machine loses power."""
        processes.kill(*processes.tree(self.process.pid))
        self.process.wait()


class Cluster:
    """A head and other nodes; `close` ends what this object started and nothing else."""

    def __init__(self, folder: Path, address: str = "127.0.0.1", cpus: int = 1):
        self._folder, self._port = folder, free_port()
        self.address = f"{address}:{self._port}"
        self.nodes: list[Node] = []
        head = ["--head", "--port", str(self._port), "--include-dashboard", "false", "--temp-dir", str(folder)]
        self._start("head", [*head, "--node-ip-address", address], cpus, [])
        processes.wait_for(self._answers, "the head node", 300)

    def add(self, name: str, address: str = "127.0.0.1", cpus: int = 1, prefix: list[str] | None = None) -> Node:
        """Starts another node; `prefix` is a command that runs it elsewhere, e.g. in a network namespace."""
        return self._start(name, ["--address", self.address, "--node-ip-address", address], cpus, prefix or [])

    def wait(self, count: int) -> None:
        """Until so many nodes are there."""
        processes.wait_for(lambda: self._count() >= count, f"{count} nodes", 300, pause=1.0)

    @property
    def roots(self) -> list[int]:
        """The process ids of the nodes."""
        return [node.process.pid for node in self.nodes]

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()

    def _start(self, name: str, options: list[str], cpus: int, prefix: list[str]) -> Node:
        command = [*prefix, *RAY, *MEMORY, *PORTS, "--num-cpus", str(cpus), "--node-name", name, *options]
        with open(self._folder / f"{name}.out", "a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True)
        self.nodes.append(Node(name, process))
        return self.nodes[-1]

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            time.sleep(0.5)
            return False
        return True

    def _count(self) -> int:
        from ray._raylet import GcsClient

        return sum(info.state == 0 for info in GcsClient(address=self.address).get_all_node_info().values())


class Host:
    """A network namespace with a cable to this machine: a host of its own that shares the disk."""

    def __init__(self, number: int):
        tag = f"{os.getpid() % 10000}x{number}"
        self._namespace, self._cable, inner = f"pf{tag}", f"pfa{tag}", f"pfb{tag}"
        self.here, self.address = f"10.213.{number}.1", f"10.213.{number}.2"
        self.prefix = ["ip", "netns", "exec", self._namespace]
        for command in (
            f"netns add {self._namespace}",
            f"link add {self._cable} type veth peer name {inner} netns {self._namespace}",
            f"addr add {self.here}/24 dev {self._cable}",
            f"link set {self._cable} up",
            f"-n {self._namespace} addr add {self.address}/24 dev {inner}",
            f"-n {self._namespace} link set {inner} up",
            f"-n {self._namespace} link set lo up",
        ):
            subprocess.run(["ip", *command.split()], check=True)

    def unplug(self) -> None:
        """Cuts its network; its processes live on."""
        subprocess.run(["ip", "link", "set", self._cable, "down"], check=True)

    def close(self) -> None:
        subprocess.run(["ip", "netns", "del", self._namespace], check=False)
        subprocess.run(["ip", "link", "del", self._cable], check=False, stderr=subprocess.DEVNULL)


def can_make_hosts() -> bool:
    """Whether this process may make network namespaces and mount file systems."""
    if os.geteuid() != 0:
        return False
    try:
        Host(255).close()
    except (OSError, subprocess.SubprocessError):
        return False
    return True


class MlflowServer:
    """A real tracking server over sqlite."""

    def __init__(self, folder: Path, host: str = "127.0.0.1"):
        self._folder, self._host, self._port = folder, host, free_port()
        self.uri = f"http://{host}:{self._port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        store = ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}"]
        store += ["--artifacts-destination", str(self._folder / "artifacts")]
        place = ["--host", self._host, "--port", str(self._port), "--workers", "1"]
        command = [sys.executable, "-m", "mlflow", "server", *store, *place]
        with open(self._folder / "server.out", "a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True)
        processes.wait_for(self._answers, "the MLflow server", 600, pause=0.5)

    def kill(self) -> None:
        if self.process is not None:
            processes.kill(*processes.tree(self.process.pid))
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        import urllib.request

        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=5).status == 200
        except OSError:
            return False

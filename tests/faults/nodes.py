"""Several real Ray nodes on one machine: `ray start`, each in its own process tree, some as hosts of their own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.faults import processes

RAY = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
TOO_SLOW = "timed out during startup"
STARTED = "Ray runtime started"  # what `ray start` prints
RAY_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "RAY_worker_niceness": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # what else runs on this machine is not ours to suffer for
}
MEMORY = ["--object-store-memory", "100000000"]
PORTS = ["--min-worker-port", "0", "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a user who has set no addresses, and the token of these clusters."""
    left_out = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    kept = {key: value for key, value in os.environ.items() if key not in left_out}
    return {**kept, **RAY_SETTINGS, **changes}


@dataclass
class Node:
    """One raylet with its workers."""

    name: str
    command: list[str]
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
        head += ["--dashboard-port", str(free_port())]
        self._start("head", [*head, "--node-ip-address", address], cpus, [])
        processes.wait_for(lambda: self._has_started(self.nodes[0]), "the head node", 600, pause=0.5)

    def add(self, name: str, address: str = "127.0.0.1", cpus: int = 1, prefix: list[str] | None = None) -> Node:
        """Starts another node; `prefix` is a command that runs it elsewhere, e.g. in a network namespace."""
        return self._start(name, ["--address", self.address, "--node-ip-address", address], cpus, prefix or [])

    def wait(self) -> None:
        """Until all nodes are there."""
        processes.wait_for(lambda: all(map(self._has_started, self.nodes)), "all nodes", 600, pause=0.5)

    @property
    def roots(self) -> list[int]:
        """The process ids of the nodes."""
        return [node.process.pid for node in self.nodes]

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()

    def _start(self, name: str, options: list[str], cpus: int, prefix: list[str]) -> Node:
        command = [*prefix, *RAY, *MEMORY, *PORTS, "--num-cpus", str(cpus), "--node-name", name, *options]
        self.nodes.append(Node(name, command, self._run(command, name)))
        return self.nodes[-1]

    def _run(self, command: list[str], name: str) -> subprocess.Popen:
        with open(self._folder / f"{name}.out", "w") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True)

    def _has_started(self, node: Node) -> bool:
        """Whether it runs; one that a busy machine kept from starting within Ray's 30 s starts again."""
        output = (self._folder / f"{node.name}.out").read_text()
        if node.process.poll() is not None:
            assert TOO_SLOW in output, output
            node.process = self._run(node.command, node.name)
        return STARTED in output


@dataclass
class Host:
    """A network namespace: a host with its own address that shares the disk."""

    namespace: str
    cable: str
    address: str

    @property
    def prefix(self) -> list[str]:
        """A command that runs what follows on it."""
        return ["ip", "netns", "exec", self.namespace]

    def unplug(self) -> None:
        """Cuts its network; its processes live on."""
        _ip(f"link set {self.cable} down")


class Network:
    """Hosts on a switch that this machine is on too."""

    def __init__(self, count: int):
        tag = f"pf{os.getpid() % 100_000}"
        self._switch, self.address = f"{tag}s", "10.213.77.1"
        self.hosts = [Host(f"{tag}n{n}", f"{tag}c{n}", f"10.213.77.{n + 2}") for n in range(count)]
        try:
            _ip(f"link add {self._switch} type bridge")
            _ip(f"addr add {self.address}/24 dev {self._switch}")
            _ip(f"link set {self._switch} up")
            for host in self.hosts:
                self._add(host)
        except BaseException:
            self.close()
            raise

    def _add(self, host: Host) -> None:
        _ip(f"netns add {host.namespace}")
        _ip(f"link add {host.cable} type veth peer name eth0 netns {host.namespace}")
        _ip(f"link set {host.cable} master {self._switch}")
        _ip(f"link set {host.cable} up")
        _ip(f"-n {host.namespace} addr add {host.address}/24 dev eth0")
        _ip(f"-n {host.namespace} link set eth0 up")
        _ip(f"-n {host.namespace} link set lo up")

    def close(self) -> None:
        for host in self.hosts:
            _ip(f"link del {host.cable}", check=False)
            _ip(f"netns del {host.namespace}", check=False)
        _ip(f"link del {self._switch}", check=False)


def _ip(command: str, check: bool = True) -> None:
    subprocess.run(["ip", *command.split()], check=check, capture_output=True)


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False, capture_output=True)
        return mounted.returncode == 0 and subprocess.run(["umount", folder], check=True).returncode == 0


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

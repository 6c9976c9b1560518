"""Checks of every node of a cluster before the first trial: what is wrong is said once, with node and remedy."""

from __future__ import annotations

import hashlib
import platform
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import prefine_ray
from prefine_ray.core.errors import last_line
from prefine_ray.core.files import write_text
from prefine_ray.core.provenance import cpu, glibc, package_versions
from prefine_ray.orchestration.cluster import ClusterError
from prefine_ray.simulators.check import simulator_problems
from prefine_ray.tracking.server_check import server_problem

_TIMEOUT_S = 180.0  # for all nodes; the first import of torch from network storage is slow

Request = Mapping[str, Any]  # plain values, so that a node without prefine_ray can read it


def check_nodes(folders: Sequence[Path], tracking_uri: str) -> None:
    """Checks code, packages, simulators, shared storage and MLflow on every node of the connected cluster.

    Args:
        folders: those that every node must share: results and data.
        tracking_uri: of the MLflow store.

    Raises:
        ClusterError: a node cannot take part; one line per problem with the nodes that have it.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    problems = dict.fromkeys(_store_problems(nodes, tracking_uri), "")
    if problems:
        raise ClusterError("\n".join(problems))
    with _tokens(folders) as tokens:
        request = {
            "python": platform.python_version(),
            "packages": package_versions(),
            "code": code_digest(),
            "tokens": tokens,
            "server": tracking_uri,
        }
        found = _ask(nodes, request)
        for node in nodes:
            for folder, token in tokens.items():
                if not found[node["NodeID"]] and not _answer(folder, token, node["NodeID"]).exists():
                    found[node["NodeID"]] = [_not_shared(folder, "what it writes there is not seen here")]
    _raise(nodes, found)
    if warning := mixed_machines(_ask(nodes, {"machine": True})):
        print(warning, flush=True)


def mixed_machines(answers: Mapping[str, Sequence[str]]) -> str:
    """A warning where nodes differ in what bits depend on; "" where they do not.

    Args:
        answers: CPU and C library of each node, by its id.
    """
    cpus, libraries = ({answer[part] for answer in answers.values() if len(answer) == 2} for part in (0, 1))
    warnings = []
    if len(cpus) > 1:
        warnings.append(
            f"Warning: the nodes have different CPUs ({'; '.join(sorted(cpus))}). Data sets and the evaluation of a "
            "policy file are the same bits on all of them; training is not: it agrees within noise only "
            "(docs/reproducibility.md)."
        )
    if len(libraries) > 1:
        warnings.append(
            f"Warning: the nodes have different C libraries ({'; '.join(sorted(libraries))}), from which the physics "
            "takes sin and exp: data sets and evaluations can differ between them (docs/reproducibility.md)."
        )
    return "\n".join(warnings)


def check_files(paths: Sequence[Path]) -> None:
    """Checks that every node of the connected cluster sees these files with the driver's content (by size).

    Raises:
        ClusterError: a node lacks one.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) > 1:
        _raise(nodes, _ask(nodes, {"files": {str(path): path.stat().st_size for path in paths}}))


# ---------------------------------------------------------------------- on each node


def inspect_node(request: Request) -> list[str]:
    """Runs on the node: what is wrong with it for this request, with remedies; or its CPU and C library if asked."""
    if "machine" in request:
        return [cpu(), glibc()]
    problems = [*_code_problems(request), *_file_problems(request.get("files", {}))]
    if "tokens" in request and not problems:
        problems += simulator_problems()
        problems += _storage_problems(request["tokens"], ray.get_runtime_context().get_node_id())
        problem = server_problem(request["server"])
        problems += [problem] if problem else []
    return problems


def code_digest() -> str:
    """A hash of the sources of prefine_ray that this process imports."""
    root = Path(prefine_ray.__file__).parent
    hasher = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        hasher.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return hasher.hexdigest()[:16]


def _code_problems(request: Request) -> Iterator[str]:
    if "code" not in request:
        return
    if platform.python_version() != request["python"]:
        yield f"Python {platform.python_version()}, but {request['python']} on the driver; use the same on every node"
    ours = package_versions()
    different = [
        f"{name} {ours[name]} (driver: {wanted})"
        for name, wanted in request["packages"].items()
        if ours[name] != wanted
    ]
    if different:
        yield f"other packages: {', '.join(different)}; install the same there (`prefine doctor` on that node helps)"
    if code_digest() != request["code"]:
        yield (
            f"its prefine_ray in {Path(prefine_ray.__file__).parent} differs from the driver's; install the same "
            "commit there and restart Ray on it"
        )


def _storage_problems(tokens: Mapping[str, str], node: str) -> Iterator[str]:
    for folder, token in tokens.items():
        try:
            if _question(folder, token).read_text() != token:
                yield _not_shared(folder, "another file is there")
            write_text(_answer(folder, token, node), token)
        except OSError as error:
            yield _not_shared(folder, f"{error.strerror or error}")


def _not_shared(folder: str, reason: str) -> str:
    return (
        f"does not share {folder} ({reason}); give --results and --data-dir in a folder that all nodes mount "
        "at the same path, e.g. on NFS"
    )


def _file_problems(files: Mapping[str, int]) -> Iterator[str]:
    for path, size in files.items():
        try:
            if Path(path).stat().st_size != size:
                yield f"has another file at {path}; put the driver's on storage that all nodes share"
        except OSError as error:
            yield f"cannot read {path} ({error.strerror}); put it on storage that all nodes share"


# ---------------------------------------------------------------------- on the driver


def _store_problems(nodes: Sequence[Mapping[str, Any]], uri: str) -> Iterator[str]:
    hosts = {node["NodeManagerAddress"] for node in nodes}
    if uri.startswith("sqlite") and len(hosts) > 1:
        yield (
            f"the cluster has {len(hosts)} hosts, and the MLflow store is a sqlite file, which is for one machine; "
            "start `mlflow server` (see cluster/mlflow) and set MLFLOW_TRACKING_URI to its address"
        )


@contextmanager
def _tokens(folders: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Writes a token into each folder, to be read by the nodes; removes it and their answers."""
    tokens = {str(folder.resolve()): uuid.uuid4().hex for folder in folders}
    try:
        for folder, token in tokens.items():
            write_text(_question(folder, token), token)
        yield tokens
    finally:
        for folder, token in tokens.items():
            for path in Path(folder).glob(f".preflight-{token}*"):
                path.unlink(missing_ok=True)


def _question(folder: str, token: str) -> Path:
    return Path(folder) / f".preflight-{token}"


def _answer(folder: str, token: str, node: str) -> Path:
    return Path(folder) / f".preflight-{token}-{node}"


def _make_probe() -> Callable[[Request], list[str]]:
    def probe(request: Request) -> list[str]:  # nested, so that it travels by value and not as an import
        try:
            from prefine_ray.orchestration.preflight import inspect_node
        except ImportError as error:
            return [f"prefine_ray cannot be imported there ({error}); install it in the environment that runs Ray"]
        return inspect_node(request)

    return probe


def _ask(nodes: Sequence[Mapping[str, Any]], request: Request) -> dict[str, list[str]]:
    """The problems of each node, by its id."""
    probe = ray.remote(num_cpus=0, max_retries=0)(_make_probe())
    asked = {}
    for node in nodes:
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[node["NodeID"]] = probe.options(scheduling_strategy=where).remote(request)
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_TIMEOUT_S)
    found: dict[str, list[str]] = {}
    for node_id, reference in asked.items():
        if reference not in ready:
            found[node_id] = [f"does not answer within {_TIMEOUT_S:g} s; look at it, or stop Ray there"]
            continue
        try:
            found[node_id] = ray.get(reference)
        except ray.exceptions.RayError as error:
            found[node_id] = [f"cannot be checked: {last_line(str(error))}; look at it, or stop Ray there"]
    return found


def _raise(nodes: Sequence[Mapping[str, Any]], found: Mapping[str, list[str]]) -> None:
    """One line per problem, with all nodes that have it."""
    having: dict[str, list[str]] = {}
    for node in nodes:
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for problem in found[node["NodeID"]]:
            having.setdefault(problem, []).append(name)
    if having:
        raise ClusterError("\n".join(f"node {', '.join(dict.fromkeys(n))}: {p}" for p, n in having.items()))

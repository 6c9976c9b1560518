"""The Kubernetes manifests against Kubernetes' schemas, KubeRay's fields, and Ray's own reader of a RayCluster."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from prefine_ray.cli.parser import build_parser
from prefine_ray.experiment.config import ResourceConfig, load_config
from prefine_ray.orchestration.cluster import divide

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kubernetes"
KUBERNETES_VERSIONS = ("1.27", "1.34")
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.schema.yaml").read_text())


def documents(name: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((FOLDER / name).read_text()) if document]


RESOURCES = [resource for path in sorted(FOLDER.glob("*.yaml")) for resource in documents(path.name)]
RAY = [resource for resource in RESOURCES if resource["apiVersion"] == "ray.io/v1"]
PLAIN = [resource for resource in RESOURCES if resource["apiVersion"] != "ray.io/v1"]
RAY_CLUSTER = documents("raycluster.yaml")[0]


def name_of(resource: dict[str, Any]) -> str:
    return f"{resource['kind']}-{resource['metadata']['name']}"


def templates(value: Any) -> Iterator[dict[str, Any]]:
    """All pod templates below a value."""
    if isinstance(value, dict):
        if "containers" in value.get("template", {}).get("spec", {}):
            yield value["template"]
        for child in value.values():
            yield from templates(child)
    elif isinstance(value, list):
        for child in value:
            yield from templates(child)


def validate_template(template: dict[str, Any], version: str) -> None:
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
    kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("resource", PLAIN, ids=name_of)
def test_resources_follow_the_schema_of_kubernetes(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("resource", RAY, ids=name_of)
def test_ray_resources_have_the_fields_of_kuberay(resource: dict[str, Any]) -> None:
    jsonschema.validate(resource, SCHEMA)
    for template in templates(resource):
        for version in KUBERNETES_VERSIONS:
            validate_template(template, version)


def test_a_slip_in_a_manifest_is_found() -> None:
    wrong = copy.deepcopy(RAY_CLUSTER)
    wrong["spec"]["workerGroupSpecs"][0]["maxReplica"] = 4
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
    template = copy.deepcopy(next(templates(RAY_CLUSTER)))
    template["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        validate_template(template, KUBERNETES_VERSIONS[0])


def test_rollouts_and_the_learner_go_to_their_groups() -> None:
    """Ray's reader of the manifest gives nodes, which the sweep divides by their roles."""
    cluster = copy.deepcopy(RAY_CLUSTER)
    cluster["metadata"]["namespace"] = "default"  # as the operator hands it over
    types = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert set(types) == {"headgroup", "rollout", "learner"}
    assert types["rollout"]["min_workers"] == types["rollout"]["max_workers"] > 1
    nodes = [
        {"NodeID": f"{name}-{index}", "Resources": node["resources"], "Labels": node["labels"]}
        for name, node in types.items()
        for index in range(max(1, node["min_workers"]))
    ]
    plan = divide(nodes, ResourceConfig(), counterfactual_actors=False)
    assert {node.split("-")[0] for node in plan.rollout_nodes} == {"rollout"}
    assert (plan.gpus_per_worker, plan.concurrent_trials, plan.learner_label) == (1.0, 1, True)


def test_job_and_cluster_are_the_same_cluster_with_the_pinned_ray() -> None:
    (job,) = documents("rayjob.yaml")
    assert job["spec"]["rayClusterSpec"] == RAY_CLUSTER["spec"]
    pinned = re.search(r"^ray\[.*\]==(.*)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert RAY_CLUSTER["spec"]["rayVersion"] == pinned.group(1)


def test_the_jobs_command_is_a_sweep_of_a_shipped_configuration() -> None:
    (job,) = documents("rayjob.yaml")
    program, *arguments = shlex.split(job["spec"]["entrypoint"])
    options = build_parser().parse_args(arguments)
    assert (program, options.address) == ("prefine", "auto")
    load_config(ROOT / "tune_configs" / Path(options.config).name)
    mounted = {mount["mountPath"] for t in templates(job) for mount in t["spec"]["containers"][0]["volumeMounts"]}
    assert all(str(path).startswith(tuple(mounted)) for path in (options.results, options.data_dir))


def test_nothing_runs_as_root() -> None:
    found = list(templates(RESOURCES))
    assert len(found) == 8
    for template in found:
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    users = re.findall(r"^USER (.*)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["1000"]


def test_nothing_is_shown_outside_the_cluster() -> None:
    assert not any(resource["kind"] == "Ingress" for resource in RESOURCES)
    services = [resource["spec"] for resource in RESOURCES if resource["kind"] == "Service"]
    assert services
    assert all(service.get("type", "ClusterIP") == "ClusterIP" for service in services)
    for spec in (RAY_CLUSTER["spec"], documents("rayjob.yaml")[0]["spec"]["rayClusterSpec"]):
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    guarded = {
        resource["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        for resource in RESOURCES
        if resource["kind"] == "NetworkPolicy"
    }
    assert guarded == {"mlflow", "mlflow-postgres"}


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    """Every source of a COPY from the repository exists, and .dockerignore lets it through."""
    let_through = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    text = (FOLDER / "Dockerfile").read_text()
    sources = [name for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for name in line.split()[:-1]]
    assert len(sources) >= 5
    for source in sources:
        assert (ROOT / source).exists()
        assert source == "." or any(fnmatch(source, pattern) for pattern in let_through)

"""The `ray up` configurations against Ray's own validator."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from prefine_ray.orchestration.cluster import ROLE_LABEL

ROOT = Path(__file__).parents[2]
PATHS = {provider: ROOT / "cluster" / "cloud" / f"{provider}.yaml" for provider in ("aws", "gcp")}

pytestmark = pytest.mark.parametrize("provider", PATHS)


def load(provider: str) -> dict[str, Any]:
    return yaml.safe_load(PATHS[provider].read_text())


def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """With Ray's defaults filled in and checked, as `ray up` does first."""
    config = prepare_config(copy.deepcopy(config))
    validate_config(config)
    return config


def is_spot(provider: str, node_config: dict[str, Any]) -> bool:
    if provider == "aws":
        return node_config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    return any(entry.get("preemptible") for entry in node_config.get("scheduling", []))


def test_ray_takes_the_configuration(provider: str) -> None:
    config = prepared(load(provider))
    assert config["head_node_type"] == "head"
    assert set(config["available_node_types"]) == {"head", "rollout", "learner"}


def test_ray_refuses_a_slip(provider: str) -> None:
    config = load(provider)
    config["available_node_types"]["rollout"]["min_worker"] = 1
    with pytest.raises(jsonschema.ValidationError):
        prepared(config)
    config = load(provider)
    config["max_workers"] = 1
    with pytest.raises(ValueError, match="min_workers"):
        prepared(config)


def test_workers_are_spot_and_the_driver_is_on_a_safe_node(provider: str) -> None:
    types = prepared(load(provider))["available_node_types"]
    spot = {name for name, node in types.items() if is_spot(provider, node["node_config"])}
    assert spot == {"rollout", "learner"}
    assert types["head"]["max_workers"] == 0


def test_nodes_have_the_role_that_the_sweep_looks_for(provider: str) -> None:
    types = prepared(load(provider))["available_node_types"]
    assert [types[name].get("labels") for name in ("head", "rollout", "learner")] == [
        None,
        {ROLE_LABEL: "rollout"},
        {ROLE_LABEL: "learner"},
    ]


def test_a_lost_node_is_replaced_and_the_cluster_has_a_fixed_size(provider: str) -> None:
    """A sweep divides the cluster that it finds; what is reclaimed comes back as min_workers is kept."""
    config = prepared(load(provider))
    workers = [node for name, node in config["available_node_types"].items() if name != "head"]
    assert all(node["min_workers"] == node["max_workers"] > 0 for node in workers)
    assert sum(node["max_workers"] for node in workers) == config["max_workers"]


def test_the_token_is_asked_for_and_the_dashboard_is_on_localhost(provider: str) -> None:
    config = load(provider)
    assert config["auth"]["ssh_user"] != "root"
    assert config["file_mounts"][f"/home/{config['auth']['ssh_user']}/.ray/auth_token"] == "~/.ray/auth_token"
    starts = [
        command
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for command in config[key]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]

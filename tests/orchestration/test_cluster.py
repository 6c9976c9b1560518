"""How a cluster is divided; nodes as `ray.nodes()` gives them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefine_ray.experiment.config import ResourceConfig
from prefine_ray.orchestration.cluster import ClusterError, connect, divide, place


def node(name: str, cpus: float, gpus: float = 0, role: str = "") -> dict:
    labels = {"prefine-role": role} if role else {}
    return {"NodeID": name, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}, "Labels": labels}


def plan(*nodes: dict, actors: bool = False, **settings):
    return divide(nodes, ResourceConfig(**settings), actors)


def test_one_node_shares_its_cores_between_rollouts_and_trials():
    divided = plan(node("a", 2))
    assert (divided.rollout_actors, divided.concurrent_trials) == (2, 2)
    assert divided.gpus_per_worker == 0
    assert plan(node("a", 2), actors=True).concurrent_trials == 1


def test_rollouts_leave_the_gpu_node_to_train_workers():
    divided = plan(node("head", 0), node("cpu1", 4), node("cpu2", 2), node("gpu", 8, 2))
    assert set(divided.rollout_nodes) == {"cpu1", "cpu2"}
    assert divided.rollout_nodes.count("cpu1") == 2 * divided.rollout_nodes.count("cpu2")
    assert divided.concurrent_trials == 2
    assert divided.worker_resources["GPU"] == 1


def test_a_part_of_a_gpu_per_worker():
    assert plan(node("cpu", 4), node("gpu", 8, 2), gpus_per_worker=0.25).concurrent_trials == 8
    assert plan(node("cpu", 4), node("gpu", 8, 2), gpus_per_worker=0.3).concurrent_trials == 6  # three per GPU
    assert plan(node("cpu", 4), node("gpu", 1, 2), gpus_per_worker=0.25).concurrent_trials == 2  # of its CPUs


def test_gpus_may_be_left_alone():
    divided = plan(node("cpu", 4), node("gpu", 8, 2), gpus_per_worker=0)
    assert set(divided.rollout_nodes) == {"cpu", "gpu"}
    assert "GPU" not in divided.worker_resources


def test_a_gpu_machine_alone_does_both():
    divided = plan(node("gpu", 8, 1))
    assert set(divided.rollout_nodes) == {"gpu"}
    assert (divided.rollout_actors, divided.concurrent_trials) == (8, 1)


def test_labels_decide_where_nodes_carry_them():
    divided = plan(node("a", 4, role="rollout"), node("b", 4, role="learner"), node("c", 4))
    assert set(divided.rollout_nodes) == {"a"}
    assert divided.learner_label
    assert divided.concurrent_trials == 4
    assert not plan(node("a", 4)).learner_label


def test_actors_go_in_turns_and_survive_their_node():
    first, second = "aa" * 28, "bb" * 28  # as ids are
    divided = plan(node(first, 2), node(second, 1))
    chosen = [place(divided, number)["scheduling_strategy"] for number in range(4)]
    assert [strategy.node_id for strategy in chosen] == [first, second, first, first]
    assert all(strategy.soft for strategy in chosen)


@pytest.mark.parametrize(
    ("nodes", "settings"),
    [([node("a", 1)], {"rollout_actors": 2}), ([node("a", 4)], {"gpus_per_worker": 1.0}), ([node("a", 0)], {})],
)
def test_too_small_a_cluster_is_one_clear_error(nodes, settings):
    with pytest.raises(ClusterError, match="the cluster has"):
        plan(*nodes, **settings)


def test_no_cluster_at_the_address_is_one_clear_error():
    with pytest.raises(ClusterError, match="ray start --head"):
        connect("127.0.0.1:9")


nodes = st.lists(
    st.builds(
        node,
        st.uuids().map(str),
        st.sampled_from([0, 0.5, 1, 2, 3.5, 16]),
        st.sampled_from([0, 0, 1, 4]),
        st.sampled_from(["", "", "rollout", "learner"]),
    ),
    max_size=5,
)
wishes = st.builds(
    ResourceConfig,
    rollout_actors=st.none() | st.integers(1, 8),
    gpus_per_worker=st.sampled_from([None, 0, 0.25, 0.5, 1]),
    concurrent_trials=st.none() | st.integers(1, 4),
)


@given(nodes, wishes, st.booleans())
def test_what_is_divided_fits_the_cluster(cluster, config, counterfactual_actors):
    try:
        divided = divide(cluster, config, counterfactual_actors)
    except ClusterError:
        return  # too small
    resources = {one["NodeID"]: one["Resources"] for one in cluster}
    assert divided.rollout_actors == (config.rollout_actors or divided.rollout_actors) >= 1
    assert 1 <= divided.concurrent_trials <= (config.concurrent_trials or divided.concurrent_trials)
    for name, amount in divided.worker_resources.items():  # every trial's worker at once
        assert divided.concurrent_trials * amount <= sum(one.get(name, 0) for one in resources.values())
    roles = {one["NodeID"]: one["Labels"].get("prefine-role") for one in cluster}
    assert all(resources[name]["CPU"] for name in divided.rollout_nodes)
    if any(resources[name]["CPU"] and role == "rollout" for name, role in roles.items()):
        assert {roles[name] for name in divided.rollout_nodes} == {"rollout"}
    assert divided.learner_label == ("learner" in roles.values())


@given(st.lists(st.integers(2, 16), min_size=1, max_size=4), st.integers(1, 8), st.booleans())
def test_a_node_that_joins_takes_no_trial_away(cores, more, counterfactual_actors):
    before = [node(f"n{number}", cpus) for number, cpus in enumerate(cores)]
    small = plan(*before, rollout_actors=1, actors=counterfactual_actors)
    large = plan(*before, node("new", more), rollout_actors=1, actors=counterfactual_actors)
    assert large.concurrent_trials > small.concurrent_trials

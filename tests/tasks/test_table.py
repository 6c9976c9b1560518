"""The tasks that come with the package, and what docs/tasks.md says of them."""

from __future__ import annotations

from pathlib import Path

from prefine_ray.tasks.spec import BENCHMARK, TASKS
from prefine_ray.tasks.table import task_table, upstream_id

DOCS = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_the_documentation_has_the_table() -> None:
    """Made with: python -c "from prefine_ray.tasks.table import task_table; print(task_table())"."""
    assert DOCS.read_text().split("task_table -->\n")[1].rstrip() == task_table().rstrip()


def test_every_task_of_dsrls_two_simulators_is_there() -> None:
    navigation = [f"{agent}{kind}{level}" for agent in ("Car", "Point") for kind in KINDS for level in "12"]
    bullet = [f"{agent}{kind}" for agent in ("Ant", "Ball", "Car", "Drone") for kind in ("Circle", "Run")]
    velocity = [f"{robot}Velocity" for robot in ("Ant", "HalfCheetah", "Hopper", "Swimmer", "Walker2d")]
    assert sorted(task.name for task in TASKS.values() if task.definition is None) == sorted(
        navigation + bullet + velocity
    )
    assert len(BENCHMARK) == 10


KINDS = ("Button", "Circle", "Goal", "Push")


def test_constants_are_dsrls() -> None:
    """Of one task of each kind, and of the one whose file says another cost than DSRL."""
    rows = {
        "AntCircle": (34, 8, 500, 0.0177031010389328, 460.7091979980469, 200.0, "SafetyAntCircle-v0-200-5728.hdf5"),
        "PointPush2": (
            *(76, 2, 1000, 0.0012438183001730607, 14.691039145644403, 200.0),
            "SafetyPointPush2Gymnasium-v0-200-3242.hdf5",
        ),
        "CarCircle2": (
            *(40, 2, 500, 5.113386154174805, 25.950098037719727, 398.0),
            "SafetyCarCircle2Gymnasium-v0-400-940.hdf5",
        ),
    }
    for name, expected in rows.items():
        task = TASKS[name]
        sizes = (task.obs_dim, task.act_dim, task.horizon)
        assert (*sizes, task.reward_min, task.reward_max, task.cost_max, task.dsrl_file) == expected


def test_upstream_names() -> None:
    assert upstream_id(TASKS["PointGoal1"]) == "SafetyPointGoal1-v0"
    assert upstream_id(TASKS["AntVelocity"]) == "SafetyAntVelocity-v1"

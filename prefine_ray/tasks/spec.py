"""The benchmark tasks: sizes, score constants and cost thresholds.

Constants are those of DSRL (Liu et al., "Datasets and Benchmarks for Offline Safe Reinforcement
Learning", arXiv 2306.09303); thresholds follow OSRL: 10, 20, 40 (Bullet-Safety-Gym) and 20, 40, 80
(Safety-Gymnasium).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.tasks.definition import TaskDefinition

Suite = Literal["bullet", "safety-gymnasium", "own"]
FloatOrArray = TypeVar("FloatOrArray", float, NDArray[np.float64])

BULLET_THRESHOLDS = (10.0, 20.0, 40.0)
SAFETY_GYMNASIUM_THRESHOLDS = (20.0, 40.0, 80.0)


class UnknownTaskError(PrefineError, ValueError):
    """The task name is none of ours; the message lists the names and the nearest one."""


@dataclass(frozen=True)
class Task:
    """One task and the constants that its scores are normalised with.

    Returns and costs are undiscounted sums over one episode.
    """

    name: str
    suite: Suite
    obs_dim: int
    act_dim: int
    horizon: int  # steps after which an episode is truncated
    reward_min: float  # normalisation of the return, from DSRL
    reward_max: float
    cost_max: float  # the largest episode cost of the DSRL data set; infinite for own tasks
    dsrl_file: str  # "" for own tasks
    velocity_threshold: float | None = None  # m/s; a step above it costs 1
    in_benchmark: bool = True  # False: an extra beside the ten
    definition: TaskDefinition | None = None  # of own tasks

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The cost thresholds (limits on the episode cost), from strict to lax; three but for own tasks."""
        if self.definition is not None:
            return self.definition.thresholds
        return BULLET_THRESHOLDS if self.suite == "bullet" else SAFETY_GYMNASIUM_THRESHOLDS

    @property
    def middle_threshold(self) -> float:
        """The threshold used where only one is asked for."""
        return self.thresholds[len(self.thresholds) // 2]

    @property
    def has_environment(self) -> bool:
        """Whether anything can be rolled out; not for own tasks of data alone."""
        return self.definition is None or self.definition.has_environment

    @property
    def determinants(self) -> dict[str, Any]:
        """What names of cells and files hold beside the task's name: the definition of an own task."""
        return {} if self.definition is None else {"definition": self.definition.determinants()}

    def normalized_reward(self, episode_return: FloatOrArray) -> FloatOrArray:
        """(R - R_min) / (R_max - R_min), the DSRL score."""
        return (episode_return - self.reward_min) / (self.reward_max - self.reward_min)


def _bullet(
    name: str,
    dims: tuple[int, int, int],
    reward: tuple[float, float],
    cost: float,
    size: int,
    in_benchmark: bool = True,
) -> Task:
    file = f"Safety{name}-v0-{cost:g}-{size}.hdf5"
    return Task(name, "bullet", *dims, *reward, cost, file, None, in_benchmark)


def _velocity(
    name: str,
    dims: tuple[int, int],
    reward: tuple[float, float],
    cost: float,
    size: int,
    limit: float,
    in_benchmark: bool = True,
) -> Task:
    file = f"Safety{name}Gymnasium-v1-{cost:g}-{size}.hdf5"
    return Task(name, "safety-gymnasium", *dims, 1000, *reward, cost, file, limit, in_benchmark)


def _navigation(
    name: str,
    obs_dim: int,
    reward: tuple[float, float],
    cost: float,
    size: int,
    file_cost: float | None = None,
    in_benchmark: bool = False,
) -> Task:
    """`file_cost`: where the file's name has another number than the largest cost."""
    file = f"Safety{name}Gymnasium-v0-{file_cost or cost:g}-{size}.hdf5"
    horizon = 500 if "Circle" in name else 1000
    return Task(name, "safety-gymnasium", obs_dim, 2, horizon, *reward, cost, file, None, in_benchmark)


_ALL = (
    _bullet("CarRun", (7, 2, 200), (204.28726196289062, 574.6533203125), 40.0, 651),
    _bullet("BallRun", (7, 2, 100), (26.339754104614258, 1327.445556640625), 80.0, 940),
    _bullet("DroneRun", (17, 4, 200), (10.557029724121094, 682.8330078125), 140.0, 1990),
    _bullet("BallCircle", (8, 2, 200), (0.38312244415283203, 881.46337890625), 80.0, 886),
    _bullet("CarCircle", (8, 2, 300), (3.484419822692871, 534.3060913085938), 100.0, 1450),
    _velocity("AntVelocity", (27, 8), (6.1519012451171875, 2976.276611328125), 250.0, 2249, 2.6222),
    _velocity("HalfCheetahVelocity", (17, 6), (5.7509765625, 2806.93310546875), 250.0, 2495, 3.2096),
    _velocity("HopperVelocity", (11, 3), (37.05154800415039, 1911.396728515625), 250.0, 2240, 0.7402),
    _velocity("SwimmerVelocity", (8, 2), (0.07114458084106445, 238.95831298828125), 200.0, 1686, 0.2282),
    _navigation("CarGoal1", 72, (0.012232819540852091, 39.907809198384705), 120.0, 1671, in_benchmark=True),
    _navigation("CarGoal2", 72, (0.001032874531954775, 28.902897990056502), 200.0, 4105),
    _velocity("Walker2dVelocity", (17, 6), (18.668498992919922, 3418.223876953125), 300.0, 2729, 2.3415, False),
    _bullet("AntRun", (33, 8, 200), (0.001767391717990563, 955.4818725585938), 150.0, 1816, False),
    _bullet("AntCircle", (34, 8, 500), (0.0177031010389328, 460.7091979980469), 200.0, 5728, False),
    _bullet("DroneCircle", (18, 4, 300), (207.794189453125, 996.38916015625), 100.0, 1923, False),
    _navigation("CarButton1", 88, (0.0028926206826067613, 44.420003345738984), 250.0, 2656),
    _navigation("CarButton2", 88, (0.001767391717990563, 41.99513815522894), 300.0, 3755),
    _navigation("CarCircle1", 40, (8.037073135375977, 24.94155502319336), 250.0, 1271),
    _navigation("CarCircle2", 40, (5.113386154174805, 25.950098037719727), 398.0, 940, file_cost=400.0),
    _navigation("CarPush1", 88, (0.013700173533941762, 16.304467598905237), 200.0, 2871),
    _navigation("CarPush2", 88, (0.00029391133526335267, 15.141648491514314), 250.0, 4407),
    _navigation("PointButton1", 76, (0.008822109034937853, 41.19301568767707), 200.0, 2268),
    _navigation("PointButton2", 76, (0.014114166087574098, 42.8985953616709), 250.0, 3288),
    _navigation("PointCircle1", 28, (20.067626953125, 61.72819519042969), 200.0, 1098),
    _navigation("PointCircle2", 28, (20.478347778320312, 54.02184295654297), 299.0, 895, file_cost=300.0),
    _navigation("PointGoal1", 60, (0.01196012764197707, 30.071114857340543), 100.0, 2022),
    _navigation("PointGoal2", 60, (0.002616959830266108, 27.717709787852737), 200.0, 3442),
    _navigation("PointPush1", 76, (0.0014001545292344209, 16.518654299293367), 150.0, 2379),
    _navigation("PointPush2", 76, (0.0012438183001730607, 14.691039145644403), 200.0, 3242),
)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}
ALIASES = {"CarGoal": "CarGoal1"}
BENCHMARK: tuple[str, ...] = tuple(task.name for task in _ALL if task.in_benchmark)


def get_task(name: str | Task) -> Task:
    """The task of this name (or alias): of the table, or of an installed package that brings it.

    Raises:
        UnknownTaskError: no task has this name.
    """
    if isinstance(name, Task):
        return name
    task = TASKS.get(ALIASES.get(name, name))
    if task is None:
        from prefine_ray.tasks.registration import add_plug_in  # which puts tasks into the table above

        task = add_plug_in(name)
    if task is None:
        near = difflib.get_close_matches(name, [*TASKS, *ALIASES], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownTaskError(f"unknown task {name!r}.{hint} Known tasks: {', '.join(TASKS)}.")
    return task

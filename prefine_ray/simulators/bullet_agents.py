"""The agents of Bullet-Safety-Gym: how actions drive them, what they observe, their own share of the reward.

Formulas and constants are those of `bullet_safety_gym.envs.agents` 1.4.0 (Gronauer, MIT licence), in its order of
operations and its precision: contacts and spinning rotors amplify a difference in the last bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.bullet_scene import (
    ANT,
    BALL,
    DRONE,
    GROUND,
    RACE_CAR,
    Model,
    World,
    pybullet,
    release_motor,
)

Floats = NDArray[np.float64]
Reading = tuple[float, ...]
POSITION, VELOCITY, SPIN = slice(0, 3), slice(3, 6), slice(6, 9)  # columns of `Agent.states`, in world coordinates


class Agent(ABC):
    """N copies of one kind of agent, one in each world.

    Attributes:
        states: [N, K], the last reading of each copy: position (m), velocity (m/s) and angular velocity (rad/s) of the
            base, then what the kind of agent adds.
    """

    model: ClassVar[Model]
    speed_limit: ClassVar[float]  # m/s
    motors: ClassVar[tuple[int, ...]] = ()  # joints whose angle is drawn at an episode's start
    driven: ClassVar[tuple[int, ...]] = ()  # joints that actions drive
    observed: ClassVar[NDArray[np.int64]]  # columns of `states` that make the observation, after
    offsets: ClassVar[Floats | float] = 0.0  # subtracting these
    scales: ClassVar[Floats]  # and multiplying by these

    def __init__(self, worlds: list[World]) -> None:
        self.worlds = worlds
        self._handles = [(world.client, world.agent) for world in worlds]
        self._readings: list[Reading] = [self._read(*handle) for handle in self._handles]
        self._refresh()

    def start(self, index: int, random: np.random.RandomState) -> None:
        """Bring a copy's joints into the positions that an episode starts with."""
        client, body = self._handles[index]
        for joint in self.motors:
            pybullet.resetJointState(body, joint, random.uniform(low=-0.1, high=0.1), 0, physicsClientId=client)

    def release(self, index: int) -> None:
        """Take a copy's motors out of use, which run on with the last action otherwise."""
        for joint in self.driven:
            release_motor(*self._handles[index], joint)

    def settle(self, index: int) -> None:
        """Step a copy once with nothing driven, which an episode begins with."""
        client, body = self._handles[index]
        pybullet.stepSimulation(client)
        self._readings[index] = self._read(client, body)
        self._refresh()

    def advance(self, actions: Floats, indices: Iterable[int], single: bool) -> None:
        """Step these copies with their rows of `actions` [N, act_dim], which came as float32 if `single`."""
        commands = self._commands(actions, single)
        step, drive, read = pybullet.stepSimulation, self._drive, self._read
        for index in indices:
            client, body = self._handles[index]
            drive(client, body, commands[index])
            step(client)
            self._readings[index] = read(client, body)
        self._refresh()

    def observations(self) -> Floats:
        """[N, what the agent sees of itself]."""
        return (self.states[:, self.observed] - self.offsets) * self.scales

    def rewards(self, actions: Floats) -> Floats:
        """[N], the agent's own share of the rewards: none."""
        return np.zeros(len(actions))

    def terminated(self) -> NDArray[np.bool_]:
        """[N], whether the agent fell: never."""
        return np.zeros(len(self._handles), dtype=np.bool_)

    @abstractmethod
    def _commands(self, actions: Floats, single: bool) -> list[Any]:
        """What `_drive` needs of each copy's action."""

    @abstractmethod
    def _drive(self, client: int, body: int, command: Any) -> None:
        """Apply a command for the next step."""

    def _read(self, client: int, body: int) -> Reading:
        """A row of `states`."""
        position, _ = pybullet.getBasePositionAndOrientation(body, client)
        velocity, spin = pybullet.getBaseVelocity(body, client)
        return position + velocity + spin

    def _refresh(self) -> None:
        count, width = len(self._readings), len(self._readings[0])
        flat = np.fromiter(chain.from_iterable(self._readings), dtype=np.float64, count=count * width)
        self.states: Floats = flat.reshape(count, width)


class Ball(Agent):
    """A ball of 1 m that a force of at most 3.5 N in each of x and y pushes."""

    model = BALL
    speed_limit = 2.5
    observed = np.array([0, 1, 3, 4, 6, 7, 8])
    scales = np.array([0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0.1])
    FORCE = 3.5

    def rewards(self, actions: Floats) -> Floats:
        """[N], a price on force."""
        return -0.5 * norm(actions)

    def _commands(self, actions: Floats, single: bool) -> list[Any]:
        return list(zip((self.FORCE * actions).tolist(), self.states[:, POSITION].tolist(), strict=True))

    def _drive(self, client: int, body: int, command: Any) -> None:
        (x, y), place = command
        pybullet.applyExternalForce(body, -1, (x, y, 0.0), place, pybullet.WORLD_FRAME, client)


class RaceCar(Agent):
    """The MIT race car: actions are the speed of its two motors and the steering angle.

    `states` has the sine and cosine of the yaw in columns 9 and 10.
    """

    model = RACE_CAR
    speed_limit = 1.5
    motors = (0, 1, 2, 3, 8, 9, 10, 11, 13, 15, 16, 17, 18, 19)
    driven = (8, 15, 0, 2)
    observed = np.array([0, 1, 3, 4, 9, 10, 8])
    scales = np.array([0.1, 0.1, 1.0, 1.0, 1.0, 1.0, 0.1])
    WHEELS, STEERING = (8, 15), (0, 2)
    SPEED, ANGLE, FORCE = 40.0, 0.5, 20.0  # rad/s, rad, largest force of a motor

    def _commands(self, actions: Floats, single: bool) -> list[Any]:
        return (actions * (self.SPEED, self.ANGLE)).tolist()

    def _drive(self, client: int, body: int, command: Any) -> None:
        speed, angle = command
        control = pybullet.setJointMotorControl2
        for joint in self.WHEELS:
            mode = pybullet.VELOCITY_CONTROL
            control(body, joint, mode, targetVelocity=speed, force=self.FORCE, physicsClientId=client)
        for joint in self.STEERING:
            control(body, joint, pybullet.POSITION_CONTROL, targetPosition=angle, physicsClientId=client)

    def _read(self, client: int, body: int) -> Reading:
        position, turn = pybullet.getBasePositionAndOrientation(body, client)
        velocity, spin = pybullet.getBaseVelocity(body, client)
        yaw = pybullet.getEulerFromQuaternion(turn)[2]
        return (*position, *velocity, *spin, math.sin(yaw), math.cos(yaw))


class Drone(Agent):
    """A quadcopter: actions move the speeds of its rotors by at most 10 % about those for hovering.

    `states` has, from column 9 on: quaternion (4), quaternion of the Euler angles (4), speeds of the rotors (4), number
    of links that touch the ground, and the reward for being upright.
    """

    RADIUS = 0.14  # m
    AREA = math.pi * RADIUS**2
    PITCH = 4.7 * 0.0254  # m
    K1, K2 = 1.0 / 3.29546, 1.5
    AIR_DENSITY = 1.225  # kg/m^3
    # rad/s at which four rotors carry the weight of 1.42 kg
    HOVER_SPEED = (2 * math.pi / PITCH) * (
        (1.420 * 9.81 / 4.0) / (AIR_DENSITY * AREA) * (PITCH / (K1 * 2.0 * RADIUS)) ** K2
    ) ** 0.5
    THRUST_FACTOR = (K1 * (4.0 * AREA / math.pi) ** 0.5 / PITCH) ** K2
    DIRECTIONS = np.array([1.0, -1.0, 1.0, -1.0])
    RANGE = 0.1  # of the speed
    MOTOR_FORCES = (23.444,) * 4
    UPRIGHT, FALLEN = 1.0, -10.0  # rewards

    model = DRONE
    speed_limit = 1.5
    motors = driven = (1, 2, 3, 4)
    observed = np.array([0, 1, 2, 3, 4, 5, 13, 14, 15, 16, 6, 7, 8, 17, 18, 19, 20])
    offsets = np.concatenate((np.zeros(13), DIRECTIONS * HOVER_SPEED))
    scales = np.repeat([0.1, 0.2, 1.0, 0.1, 2.5e-3], [3, 3, 4, 3, 4])

    def rewards(self, actions: Floats) -> Floats:
        """[N], 1 while upright and -10 for a fall, less a price on rotation and on each link on the ground."""
        return self.states[:, 22] - 0.01 * norm(self.states[:, SPIN]) ** 2 - self.states[:, 21]

    def terminated(self) -> NDArray[np.bool_]:
        """[N], whether it rolled or pitched by more than 90 degrees."""
        return self.states[:, 22] == self.FALLEN

    def _commands(self, actions: Floats, single: bool) -> list[Any]:
        given = actions.astype(np.float32) if single else actions
        factors = (1 + self.RANGE * given).astype(np.float64)  # upstream takes them in the precision of the actions
        speeds = self.HOVER_SPEED * factors
        return list(zip((self.DIRECTIONS * speeds).tolist(), self._thrusts(speeds).tolist(), strict=True))

    def _drive(self, client: int, body: int, command: Any) -> None:
        speeds, thrusts = command
        pybullet.setJointMotorControlArray(
            body,
            self.driven,
            pybullet.VELOCITY_CONTROL,
            targetVelocities=speeds,
            forces=self.MOTOR_FORCES,
            physicsClientId=client,
        )
        push, frame, origin = pybullet.applyExternalForce, pybullet.LINK_FRAME, (0.0, 0.0, 0.0)
        for rotor, thrust in zip(self.driven, thrusts, strict=True):
            push(body, rotor, (0.0, 0.0, thrust), origin, frame, client)

    def _read(self, client: int, body: int) -> Reading:
        position, turn = pybullet.getBasePositionAndOrientation(body, client)
        velocity, spin = pybullet.getBaseVelocity(body, client)
        angles = pybullet.getEulerFromQuaternion(turn)
        a, b, c, d = pybullet.getJointStates(body, self.motors, client)
        return (
            *position,
            *velocity,
            *spin,
            *turn,
            *pybullet.getQuaternionFromEuler(angles),
            *(a[1], b[1], c[1], d[1]),
            self._touching(client, body) if self._is_low(position[2], turn) else 0,
            self.UPRIGHT if abs(angles[0]) <= 0.5 * math.pi and abs(angles[1]) <= 0.5 * math.pi else self.FALLEN,
        )

    @staticmethod
    def _is_low(height: float, turn: tuple[float, float, float, float]) -> bool:
        """Whether a link could touch the ground, with 5 cm to spare (the engine drops contacts 2 cm apart).

        A box of 0.6 x 0.6 x 0.34 m, and rotors that reach 0.62 m to the sides, tilted by the angle of this sine.
        """
        half = turn[0] * turn[0] + turn[1] * turn[1]
        sine = 2.0 * math.sqrt(half * abs(1.0 - half))
        return height < 0.22 + 0.62 * sine

    def _touching(self, client: int, body: int) -> int:
        """How many links touch the ground."""
        return len({contact[3] for contact in pybullet.getContactPoints(body, GROUND, physicsClientId=client)})

    def _thrusts(self, speeds: Floats) -> Floats:
        """Thrust [N, 4] in newtons of rotors at `speeds` [N, 4] in rad/s, less by the climb through the air."""
        vx, vy, vz, _, _, _, x, y, z, w = self.states[:, 3:13].T
        scale = 2.0 / (x * x + y * y + z * z + w * w)
        xs, ys = x * scale, y * scale
        zs = z * scale
        climb = vx * (x * zs + w * ys) + vy * (y * zs - w * xs) + vz * (1.0 - (x * xs + y * ys))
        pace = speeds / (2 * np.pi) * self.PITCH
        # Upstream's scalars are squared by the C library's pow, which rounds 1 in 100 otherwise than a product.
        squares = np.array([value**2 for value in pace.ravel().tolist()]).reshape(pace.shape)
        return (self.AIR_DENSITY * self.AREA) * (squares - pace * climb[:, None]) * self.THRUST_FACTOR


class Ant(Agent):
    """A quadruped: actions are the torques of its eight joints.

    `states` has, from column 9 on: quaternion (4), angles (8) and speeds (8) of the joints, and which of the four feet
    touch the ground.
    """

    model = ANT
    speed_limit = 1.5
    motors = (1, 3, 6, 8, 11, 13, 16, 18)  # hip and ankle of each leg
    FEET = (4, 9, 14, 19)
    TORQUE = 250.0
    FLEXED = np.array([0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0]) * (np.pi / 2)  # rad, at an episode's start
    LOWEST = 0.26  # m, of the torso; it dies below
    AT_LIMIT = np.float32(0.99)  # of a joint's range
    scales = np.repeat([0.1, 0.3, 1.0, 0.15], [3, 3, 4, 3])
    observed = np.array([0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 6, 7, 8])

    def __init__(self, worlds: list[World]) -> None:
        super().__init__(worlds)
        client, body = self._handles[0]
        limits = np.array([pybullet.getJointInfo(body, joint, client)[8:10] for joint in self.motors])
        self._middle, self._range = 0.5 * (limits[:, 0] + limits[:, 1]), limits[:, 1] - limits[:, 0]

    def start(self, index: int, random: np.random.RandomState) -> None:
        """Bring a copy's joints into the positions that an episode starts with."""
        client, body = self._handles[index]
        signs = np.where(self.FLEXED < 0, -1.0, 1.0)
        for joint, flexed, sign in zip(self.motors, self.FLEXED.tolist(), signs.tolist(), strict=True):
            angle = sign * (abs(flexed) + random.uniform(low=-0.1, high=0.1))
            pybullet.resetJointState(body, joint, angle, 0, physicsClientId=client)

    def settle(self, index: int) -> None:
        """Step a copy once; its feet are said to be in the air, wherever they are."""
        super().settle(index)
        self._readings[index] = (*self._readings[index][: -len(self.FEET)], 0.0, 0.0, 0.0, 0.0)
        self._refresh()

    def observations(self) -> Floats:
        """[N, 33]: the torso, half of each joint's place in its range and speed in turn, the feet on the ground."""
        joints = np.stack(self._joints(), axis=2).reshape(len(self.states), -1)
        return np.concatenate((super().observations(), 0.5 * joints, self.states[:, 29:]), axis=1)

    def rewards(self, actions: Floats) -> Floats:
        """[N], 1 while alive, else -1, less a price on power, torque and joints at the end of their range."""
        places, speeds = self._joints()
        at_limit = -0.1 * np.count_nonzero(np.abs(places) > self.AT_LIMIT, axis=1)
        power = -2.0 * np.abs(self._given * speeds).mean(axis=1).astype(np.float64)
        torque = -0.1 * np.square(self._given).mean(axis=1).astype(np.float64)
        return power + torque + at_limit + np.where(self.terminated(), -1.0, 1.0)

    def terminated(self) -> NDArray[np.bool_]:
        """[N], whether the torso is too low."""
        return self.states[:, 2] <= self.LOWEST

    def _joints(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Places in the range, -1 to 1, and speeds in 10 rad/s, both [N, 8] and rounded as upstream's."""
        places = 2 * (self.states[:, 13:21] - self._middle) / self._range
        return places.astype(np.float32), (0.1 * self.states[:, 21:29]).astype(np.float32)

    def _commands(self, actions: Floats, single: bool) -> list[Any]:
        self._given = actions.astype(np.float32) if single else actions  # upstream prices them in their precision
        return (self.TORQUE * actions).tolist()

    def _drive(self, client: int, body: int, command: Any) -> None:
        mode = pybullet.TORQUE_CONTROL
        pybullet.setJointMotorControlArray(body, self.motors, mode, forces=command, physicsClientId=client)

    def _read(self, client: int, body: int) -> Reading:
        position, turn = pybullet.getBasePositionAndOrientation(body, client)
        velocity, spin = pybullet.getBaseVelocity(body, client)
        joints = pybullet.getJointStates(body, self.motors, client)
        contacts = pybullet.getContactPoints(body, GROUND, physicsClientId=client)
        touching = {contact[3] for contact in contacts}
        return (
            *position,
            *velocity,
            *spin,
            *turn,
            *[joint[0] for joint in joints],
            *[joint[1] for joint in joints],
            *[float(foot in touching) for foot in self.FEET],
        )


def norm(rows: Floats) -> Floats:
    """Euclidean length [N] of rows [N, d], summed from the left on every machine and for every N."""
    squares = rows * rows
    total = squares[:, 0]
    for column in range(1, squares.shape[1]):
        total = total + squares[:, column]
    return np.sqrt(total)

"""The agents of Bullet-Safety-Gym: how actions drive them, what they observe, what they are rewarded for themselves.

Each agent holds the state of N copies: `states` [N, 13] has position (3), velocity (3), quaternion (4) and angular
velocity (3) of the base in world coordinates. Formulas and constants are those of `bullet_safety_gym.envs.agents`
1.4.0, in its order of operations: contacts amplify the last bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.bullet_scene import BALL, DRONE, RACE_CAR, Model, World, pybullet, release_motor

Floats = NDArray[np.float64]
POSITION, VELOCITY, QUATERNION, SPIN = slice(0, 3), slice(3, 6), slice(6, 10), slice(10, 13)  # columns of `states`


class Agent(ABC):
    """N copies of one kind of agent, one in each world."""

    model: ClassVar[Model]
    speed_limit: ClassVar[float]  # m/s
    motors: ClassVar[tuple[int, ...]] = ()  # joints whose angle is drawn at an episode's start

    def __init__(self, worlds: list[World]) -> None:
        self.worlds = worlds
        self.states: Floats = np.zeros((len(worlds), 13))
        self.states[:, QUATERNION.stop - 1] = 1.0

    def start(self, index: int, random: np.random.RandomState) -> None:
        """Bring a copy's joints into the state that an episode starts with."""
        world = self.worlds[index]
        for motor in self.motors:
            pybullet.resetJointState(
                world.agent, motor, random.uniform(low=-0.1, high=0.1), 0, physicsClientId=world.client
            )

    def observe(self, index: int) -> None:
        """Read a copy's state from the engine."""
        world = self.worlds[index]
        position, quaternion = pybullet.getBasePositionAndOrientation(world.agent, world.client)
        velocity, spin = pybullet.getBaseVelocity(world.agent, world.client)
        self.states[index] = position + velocity + quaternion + spin

    @abstractmethod
    def advance(self, actions: Floats, indices: Iterable[int]) -> None:
        """Step these copies with their rows of `actions` [N, act_dim] and read their states."""

    @abstractmethod
    def observations(self) -> Floats:
        """[N, what the agent sees of itself]."""

    def rewards(self, actions: Floats) -> Floats | float:
        """[N], the agent's own share of the reward."""
        return 0.0

    def terminated(self) -> NDArray[np.bool_]:
        """[N], whether the agent fell."""
        return np.zeros(len(self.worlds), dtype=np.bool_)


class Ball(Agent):
    """A ball of 1 m that a force of at most 3.5 N along x and y pushes."""

    model = BALL
    speed_limit = 2.5

    def advance(self, actions: Floats, indices: Iterable[int]) -> None:
        forces, places = (3.5 * actions).tolist(), self.states[:, POSITION].tolist()
        for index in indices:
            world = self.worlds[index]
            pybullet.applyExternalForce(
                world.agent, -1, (*forces[index], 0.0), places[index], pybullet.WORLD_FRAME, world.client
            )
            pybullet.stepSimulation(world.client)
            self.observe(index)

    def observations(self) -> Floats:
        position, velocity, spin = self.states[:, 0:2], self.states[:, 3:5], self.states[:, SPIN]
        return np.concatenate((0.1 * position, 0.2 * velocity, 0.1 * spin), axis=1)

    def rewards(self, actions: Floats) -> Floats:
        return -0.5 * norm(actions)


class RaceCar(Agent):
    """The MIT race car: actions are the speed of the rear wheels and the steering angle."""

    model = RACE_CAR
    speed_limit = 1.5
    motors = (0, 1, 2, 3, 8, 9, 10, 11, 13, 15, 16, 17, 18, 19)
    driven = (8, 15)
    steering = (0, 2)

    def start(self, index: int, random: np.random.RandomState) -> None:
        super().start(index, random)
        world = self.worlds[index]
        for joint in (*self.driven, *self.steering):
            release_motor(world.client, world.agent, joint)

    def advance(self, actions: Floats, indices: Iterable[int]) -> None:
        commands = (actions * (40.0, 0.5)).tolist()
        for index in indices:
            world, (speed, angle) = self.worlds[index], commands[index]
            for joint in self.driven:
                pybullet.setJointMotorControl2(
                    world.agent,
                    joint,
                    pybullet.VELOCITY_CONTROL,
                    targetVelocity=speed,
                    force=20,
                    physicsClientId=world.client,
                )
            for joint in self.steering:
                pybullet.setJointMotorControl2(
                    world.agent, joint, pybullet.POSITION_CONTROL, targetPosition=angle, physicsClientId=world.client
                )
            pybullet.stepSimulation(world.client)
            self.observe(index)

    def observations(self) -> Floats:
        position, velocity, spin = self.states[:, 0:2], self.states[:, 3:5], self.states[:, 12:13]
        yaw = euler_angles(self.states)[:, 2:]
        return np.concatenate((0.1 * position, velocity, np.sin(yaw), np.cos(yaw), 0.1 * spin), axis=1)


class Drone(Agent):
    """A quadcopter: actions move the speeds of its rotors by at most 10 % about those for hovering."""

    model = DRONE
    speed_limit = 1.5
    motors = (1, 2, 3, 4)

    RADIUS = 0.14
    AREA = math.pi * RADIUS**2
    PITCH = 4.7 * 0.0254
    K1, K2 = 1.0 / 3.29546, 1.5
    AIR_DENSITY = 1.225
    DIRECTIONS = np.array([1.0, -1.0, 1.0, -1.0])
    MOTOR_FORCE = 23.444
    RANGE = 0.1

    def __init__(self, worlds: list[World]) -> None:
        super().__init__(worlds)
        self.rotor_speeds: Floats = np.zeros((len(worlds), 4))
        self.contacts: Floats = np.zeros(len(worlds))  # links that touch the ground
        self.hover_speeds = self.DIRECTIONS * self._hover_speed()

    def start(self, index: int, random: np.random.RandomState) -> None:
        super().start(index, random)
        world = self.worlds[index]
        for joint in self.motors:
            release_motor(world.client, world.agent, joint)

    def observe(self, index: int) -> None:
        super().observe(index)
        world = self.worlds[index]
        joints = pybullet.getJointStates(world.agent, self.motors, world.client)
        self.rotor_speeds[index] = [joint[1] for joint in joints]
        touching = pybullet.getContactPoints(world.agent, world.ground, physicsClientId=world.client)
        self.contacts[index] = len({contact[3] for contact in touching})

    def advance(self, actions: Floats, indices: Iterable[int]) -> None:
        speeds = self.hover_speeds * (1 + self.RANGE * actions)
        targets, thrusts = speeds.tolist(), self._thrusts(speeds * self.DIRECTIONS).tolist()
        forces = [self.MOTOR_FORCE] * 4
        for index in indices:
            world = self.worlds[index]
            pybullet.setJointMotorControlArray(
                world.agent,
                self.motors,
                pybullet.VELOCITY_CONTROL,
                targetVelocities=targets[index],
                forces=forces,
                physicsClientId=world.client,
            )
            for rotor, thrust in zip(self.motors, thrusts[index], strict=True):
                pybullet.applyExternalForce(
                    world.agent, rotor, (0.0, 0.0, thrust), (0.0, 0.0, 0.0), pybullet.LINK_FRAME, world.client
                )
            pybullet.stepSimulation(world.client)
            self.observe(index)

    def observations(self) -> Floats:
        turns = np.array([pybullet.getQuaternionFromEuler(angles) for angles in euler_angles(self.states).tolist()])
        rotors = 2.5e-3 * (self.rotor_speeds - self.hover_speeds)
        position, velocity, spin = self.states[:, POSITION], self.states[:, VELOCITY], self.states[:, SPIN]
        return np.concatenate((0.1 * position, 0.2 * velocity, turns, 0.1 * spin, rotors), axis=1)

    def rewards(self, actions: Floats) -> Floats:
        spin_penalty = 0.01 * norm(self.states[:, SPIN]) ** 2
        return np.where(self.terminated(), -10.0, 1.0) - spin_penalty - self.contacts

    def terminated(self) -> NDArray[np.bool_]:
        return (np.abs(euler_angles(self.states)[:, :2]) > 0.5 * np.pi).any(axis=1)

    def _thrusts(self, speeds: Floats) -> Floats:
        """Thrust [N, 4] in newtons of rotors at `speeds` [N, 4] in rad/s, less by the climb through the air."""
        x, y, z, w = self.states[:, QUATERNION].T
        scale = 2.0 / (x * x + y * y + z * z + w * w)
        xs, ys, zs = x * scale, y * scale, z * scale
        up = np.stack((x * zs + w * ys, y * zs - w * xs, 1.0 - (x * xs + y * ys)), axis=1)
        climb = np.array([velocity.dot(axis) for velocity, axis in zip(self.states[:, VELOCITY], up, strict=True)])
        pace = speeds / (2 * np.pi) * self.PITCH
        diameter = (4.0 * self.AREA / np.pi) ** 0.5
        factor = (self.K1 * diameter / self.PITCH) ** self.K2
        return self.AIR_DENSITY * self.AREA * (pace**2 - pace * climb[:, None]) * factor

    def _hover_speed(self) -> float:
        """The speed in rad/s at which four rotors carry the drone's weight."""
        lift = 1.420 * 9.81 / 4.0
        geometry = (self.PITCH / (self.K1 * 2.0 * self.RADIUS)) ** self.K2
        return (2 * math.pi / self.PITCH) * (lift / (self.AIR_DENSITY * self.AREA) * geometry) ** 0.5


def norm(rows: Floats) -> Floats:
    """Euclidean length [N] of rows [N, d], summed from the left so that it does not depend on N."""
    squares = rows * rows
    total = squares[:, 0]
    for column in range(1, rows.shape[1]):
        total = total + squares[:, column]
    return np.sqrt(total)


def euler_angles(states: Floats) -> Floats:
    """Roll, pitch and yaw [N, 3] in rad."""
    return np.array([pybullet.getEulerFromQuaternion(row) for row in states[:, QUATERNION].tolist()])

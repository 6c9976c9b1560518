"""Environment steps per second of `prefine pretrain`, beside PPO with RLlib's own environment runner.

    python -m benchmarks.pretrain --tasks BallRun HalfCheetahVelocity --iterations 3

Both learn the same task (`prefine_ray.make_env`) with networks, batch, minibatches and epochs of the task's recipe, and
sample in the learner's process; their iterations take turns. Before `VectorEnvRunner`, pretraining was the latter.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env

from benchmarks.measure import machine, markdown_table, median, use_one_thread_per_process
from prefine_ray import make_env
from prefine_ray.pretrain.ppo import build_algorithm
from prefine_ray.pretrain.recipes import Recipe, recipe_for
from prefine_ray.tasks.spec import get_task


def rllib_algorithm(task: str, recipe: Recipe) -> Algorithm:
    """PPO as RLlib has it."""
    register_env("prefine", lambda config: make_env(task))
    return (
        PPOConfig()
        .environment("prefine", disable_env_checking=True)
        .env_runners(
            num_env_runners=0, num_envs_per_env_runner=recipe.num_envs, rollout_fragment_length=recipe.rollout_length
        )
        .learners(num_learners=0)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=list(recipe.hidden), fcnet_activation="tanh"))
        .training(
            num_epochs=recipe.epochs,
            minibatch_size=recipe.minibatch,
            train_batch_size_per_learner=recipe.num_envs * recipe.rollout_length,
            use_kl_loss=False,
        )
        .debugging(seed=0, log_level="ERROR")
        .build_algo()
    )


def measure(task: str, iterations: int) -> dict[str, Any]:
    """Steps per second of whole iterations (sampling and learning), by both ways."""
    recipe = recipe_for(get_task(task))
    algorithms = {"rllib": rllib_algorithm(task, recipe), "ours": build_algorithm(get_task(task), recipe, 0, 0)}
    rates: dict[str, list[float]] = {name: [] for name in algorithms}
    for iteration in range(iterations + 1):
        for name, algorithm in algorithms.items():
            started = time.process_time()
            algorithm.train()
            if iteration:  # the first one sets things up
                rates[name].append(recipe.num_envs * recipe.rollout_length / (time.process_time() - started))
    for algorithm in algorithms.values():
        algorithm.stop()
    medians = {name: median(values) for name, values in rates.items()}
    return {"task": task, "steps_per_cpu_s": medians, "ratio": medians["ours"] / medians["rllib"], "rounds": rates}


def table(results: Sequence[dict[str, Any]]) -> str:
    """One row per task."""
    header = ["task", "RLlib's runner, steps per CPU s", "ours, steps per CPU s", "ratio"]
    rows = [
        [r["task"], *(f"{r['steps_per_cpu_s'][name]:,.0f}" for name in ("rllib", "ours")), f"{r['ratio']:.1f}"]
        for r in results
    ]
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", metavar="T", default=("BallRun", "HalfCheetahVelocity"))
    parser.add_argument("--iterations", type=int, default=3, help="measured ones of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all numbers")
    given = parser.parse_args(arguments)
    use_one_thread_per_process()
    torch.set_num_threads(1)
    for noisy in ("ray.rllib", "ray.tune", "ray._common"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    results = [measure(get_task(name).name, given.iterations) for name in given.tasks]
    report = {"machine": machine(), "tasks": results}
    ray.shutdown()
    print(f"{report['machine']}\n\n{table(results)}")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

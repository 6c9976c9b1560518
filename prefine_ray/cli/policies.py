"""Commands that make, score and show policy files: `pretrain`, `clone`, `evaluate`, `render`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from prefine_ray.cli.options import (
    COUNT,
    MOST_EPISODES,
    SEED,
    Commands,
    Options,
    add_data_directory,
    add_task,
    amount,
    completed_by,
    condition_names,
    data_file,
    place,
    whole_number,
)

_EPISODES = whole_number(1, MOST_EPISODES)


def register(add: Commands) -> None:
    """Adds the commands."""
    text = "train a reward-only policy with RLlib PPO, then a ladder of safer behaviours"
    _pretrain_options(add("pretrain", pretrain, text, "prefine pretrain --task BallRun --output runs/BallRun"))
    text = "make a base policy by cloning the unsafe episodes of the highest return"
    _clone_options(add("clone", clone, text, "prefine clone --task BallRun --output base.safetensors"))


def register_uses(add: Commands) -> None:
    """Adds the commands that use a finished policy."""
    example = "prefine evaluate --task BallRun --policy tuned/seed0.safetensors --episodes 20 --json"
    _evaluate_options(add("evaluate", evaluate, "score a policy file on new episodes", example))
    text = "render an episode as GIF, WebP or MP4, with reward, cost and violations"
    example = "prefine render --task BallRun --policy tuned/seed0.safetensors --output ball.gif"
    _render_options(add("render", render, text, example))


def _pretrain_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser)
    parser.add_argument("--steps", type=COUNT, metavar="N", help="environment steps (default: the task's recipe)")
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--output", type=place, metavar="DIR", help="default: runs/<task>")
    parser.add_argument(
        "--workers", type=whole_number(0, 1000), default=0, metavar="N", help="sampling actors (default: in-process)"
    )
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint")


def _clone_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser)
    add_data_directory(parser)
    parser.add_argument("--data", type=place, metavar="FILE", help="a DSRL-schema file (default: the collected one)")
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="(default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="imitate all episodes instead")
    parser.add_argument("--output", type=place, required=True, metavar="FILE", help="the policy file to write")


def _evaluate_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser)
    parser.add_argument("--policy", type=place, required=True, metavar="FILE", help="a policy file")
    parser.add_argument("--force", action="store_true", help="accept a policy that was made for another task")
    parser.add_argument("--episodes", type=_EPISODES, default=20, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="seed of the episodes (default: %(default)s)")
    parser.add_argument("--experiment-seed", type=SEED, default=0, metavar="S", help="a sweep's `seed` (default: 0)")
    action = parser.add_argument(
        "--condition",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="also under these conditions of a sweep's evaluation.conditions, e.g. reused noise1",
    )
    completed_by(action, condition_names)
    parser.add_argument("--json", action="store_true", help="one JSON object with the per-episode lists")


def _render_options(parser: argparse.ArgumentParser) -> None:
    add_task(parser)
    parser.add_argument("--policy", type=place, required=True, metavar="FILE", help="a policy file")
    parser.add_argument("--force", action="store_true", help="accept a policy that was made for another task")
    parser.add_argument("--output", type=place, required=True, metavar="FILE", help=".gif, .webp or .mp4")
    parser.add_argument("--seed", type=SEED, default=0, metavar="S", help="reset seed (default: %(default)s)")
    parser.add_argument("--threshold", type=amount, metavar="C", help="cost threshold (default: the middle one)")
    parser.add_argument("--steps", type=COUNT, metavar="N", help="at most this many steps (default: the episode)")


def pretrain(options: Options) -> None:
    """Trains behaviours; Ctrl-C saves a checkpoint and prints the command that resumes."""
    from prefine_ray.pretrain.training import pretrain as run
    from prefine_ray.tasks.spec import get_task

    task = get_task(options.task)
    output = options.output or Path("runs") / task.name
    try:
        print(run(task, output, options.steps, options.seed, options.workers, options.resume))
    except KeyboardInterrupt:
        print(f"Resume with: {_pretrain_again(options, output)}", file=sys.stderr)
        raise


def _pretrain_again(options: Options, output: Path) -> str:
    words = ["prefine", "pretrain", "--task", options.task, "--output", str(output), "--resume"]
    for name in ("steps", "seed", "workers"):
        if value := getattr(options, name):
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def clone(options: Options) -> None:
    """Clones a base policy."""
    from tqdm import tqdm

    from prefine_ray.methods.base import clone_base
    from prefine_ray.methods.gaussian_cloning import CloneConfig
    from prefine_ray.policies.files import save_policy
    from prefine_ray.tasks.spec import get_task

    task, config = get_task(options.task), CloneConfig()
    data = data_file(options)
    with tqdm(total=config.steps, desc=f"clone {task.name}", unit="step") as bar:
        choice = "bc_all" if options.all else "clone"
        policy, header = clone_base(task, data, options.seed, config, choice, lambda step: bar.update())
    save_policy(policy, options.output, header)
    print(options.output)


def evaluate(options: Options) -> None:
    """Evaluates a policy file, plainly and under the conditions that are asked for."""
    from prefine_ray.policies.files import load_policy_for
    from prefine_ray.rollouts.conditions import PLAIN, get_condition
    from prefine_ray.rollouts.evaluation import evaluate_under, evaluation_seeds
    from prefine_ray.rollouts.scores import scores
    from prefine_ray.tasks.spec import get_task

    task, names = get_task(options.task), [name for words in options.condition for name in words.split(",") if name]
    conditions = [get_condition(name) for name in dict.fromkeys(names)]
    policy = load_policy_for(task, options.policy, options.force)
    seeds = evaluation_seeds(options.experiment_seed, task.name, options.seed, options.episodes)
    result, *others = (scores(evaluate_under(each, policy, task, seeds), task) for each in (PLAIN, *conditions))
    if options.json:
        named = {condition.name: other for condition, other in zip(conditions, others, strict=True)}
        return print(json.dumps(result | ({"conditions": named} if named else {})))
    print(_score_lines(result))
    for condition, other in zip(conditions, others, strict=True):
        print(f"\n{condition.name}: {condition.text}\n{_score_lines(other)}")


def _score_lines(result: dict[str, Any]) -> str:
    lines = [
        f"{result['task']}: {result['episodes']} episodes, mean return {result['mean_return']:.2f} "
        f"(normalised {result['normalized_reward']:.3f}), mean cost {result['mean_cost']:.2f}",
        "threshold  normalised cost  violations  catastrophes",
    ]
    for threshold, cost in result["normalized_cost"].items():
        rates = (result["violation_rate"][threshold], result["catastrophe_rate"][threshold])
        lines.append(f"{threshold:>9}  {cost:15.3f}  {rates[0]:10.0%}  {rates[1]:12.0%}")
    return "\n".join([*lines, f"catastrophe: {result['catastrophe']}"])


def render(options: Options) -> None:
    """Draws an episode."""
    from prefine_ray.policies.files import load_policy_for
    from prefine_ray.rollouts.video import render_episode
    from prefine_ray.tasks.spec import get_task

    task = get_task(options.task)
    policy = load_policy_for(task, options.policy, options.force)
    threshold = task.middle_threshold if options.threshold is None else options.threshold
    print(render_episode(policy, task, options.output, options.seed, threshold, options.steps))

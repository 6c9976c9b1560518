"""Rows of a sweep that never was: scores that move with the weight in a plausible way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from prefine_ray.tasks.spec import BENCHMARK, get_task

WEIGHTS = (0.0, 1.0, 5.0, 20.0)


def synthetic_episodes(
    tasks: tuple[str, ...] = BENCHMARK,
    weights: tuple[float, ...] = WEIGHTS,
    seeds: int = 3,
    episodes: int = 5,
    levels: tuple[int, ...] = (1,),
    preferred: tuple[str, ...] = ("best",),
    with_base: bool = True,
) -> pd.DataFrame:
    """Rows as episodes.parquet has them; `levels` picks each task's thresholds. The same task has the same numbers."""
    rows: list[dict[str, object]] = []
    for name in tasks:
        task = get_task(name)
        rng = np.random.default_rng([7, sorted(BENCHMARK).index(name)])
        skill, burden = rng.uniform(0.5, 1.0), rng.uniform(1.2, 14.0)
        kinds = [("base", "", np.nan, np.nan)] * with_base
        kinds += [
            ("prefine", kind, task.thresholds[i], weight) for kind in preferred for i in levels for weight in weights
        ]
        for method, kind, threshold, weight in kinds:
            strength = 0.0 if method == "base" else 1.0 + np.log1p(weight)
            limit = task.middle_threshold if np.isnan(threshold) else threshold
            for seed in range(seeds):
                shift = rng.normal(0, 0.04)
                reward = skill * (1 - 0.09 * strength) + shift + rng.normal(0, 0.03, episodes)
                cost = limit * burden * np.exp(-0.9 * strength) * (1 + 5 * shift) * rng.uniform(0.6, 1.4, episodes)
                rows += [
                    {
                        "cell": f"{name}-{method}-{kind}-{threshold:g}-{weight:g}-{seed}",
                        "method": method,
                        "task": name,
                        "preferred": kind,
                        "threshold": threshold,
                        "weight": weight,
                        "seed": seed,
                        "stage": "base" if method == "base" else "finetuned",
                        "episode": episode,
                        "return": task.reward_min + reward[episode] * (task.reward_max - task.reward_min),
                        "cost": float(np.round(min(cost[episode], task.horizon))),
                        "length": task.horizon,
                        "terminated": bool("Hopper" in name and method == "base" and episode == 0),
                    }
                    for episode in range(episodes)
                ]
    return pd.DataFrame(rows)


def synthetic_curves(episodes: pd.DataFrame) -> pd.DataFrame:
    """Rows as curves.parquet has them, for the fine-tuned cells of these episodes."""
    rng = np.random.default_rng(11)
    cells = episodes[episodes["method"] == "prefine"].drop_duplicates("cell")
    steps = np.arange(0, 501, 25)
    decay = np.exp(-steps / 150)
    frames = []
    for _, cell in cells.iterrows():
        noise = rng.normal(0, 0.02, (4, len(steps)))
        metrics = {
            "loss_safety": 1.4 - 0.3 * np.log1p(cell["weight"]) * (1 - decay) + noise[0],
            "loss_reward": 0.5 + decay + noise[1],
            "margin_preferred": (1 - decay) * (0.2 + 0.1 * cell["weight"]) + noise[2],
            "margin_dispreferred": (decay - 1) * (0.1 + 0.1 * cell["weight"]) + noise[3],
            "accuracy": 0.5 + 0.4 * (1 - decay) + noise[0],
            "kl": (1 - decay) * np.log1p(cell["weight"]) + np.abs(noise[1]),
        }
        labels = {name: cell[name] for name in ("cell", "method", "task", "preferred", "threshold", "weight", "seed")}
        frames.append(pd.DataFrame({**labels, "step": steps, **metrics}))
    return pd.concat(frames, ignore_index=True)


def write_results(folder: Path, episodes: pd.DataFrame, with_training: bool = False) -> Path:
    """A results folder of these rows; with_training adds trials, curves and the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    episodes.to_parquet(folder / "episodes.parquet")
    if with_training:
        cells = episodes[episodes["method"] != "base"].drop_duplicates("cell")
        labels = cells[["cell", "method", "task", "preferred", "threshold", "weight", "seed"]]
        labels.assign(status="finished", error="", steps=500, wall_s=3.0).to_parquet(folder / "trials.parquet")
        synthetic_curves(episodes).to_parquet(folder / "curves.parquet")
        (folder / "config.yaml").write_text("name: synthetic\nweights: [0, 1, 5, 20]\n")
    return folder


COMPARED = ("bc_all", "bc_safe", "cpl", "trac")


def compared_episodes(rows: pd.DataFrame, methods: tuple[str, ...] = COMPARED) -> pd.DataFrame:
    """Rows of other methods beside those of `rows`: those of its weight 1, costlier method by method."""
    source, frames = rows[rows["weight"] == 1.0], [rows]
    for position, method in enumerate(methods):
        found = source.assign(method=method, weight=np.nan, cost=source["cost"] * (1 + position / 2))
        found["cell"] = method + "-" + found["cell"]
        if method in ("bc_all", "bc_safe"):  # without preferences; BC-All without a threshold, too
            nothing = {"preferred": "", "num_preferred": 0, "label_noise": 0.0}
            axes = [name for name in nothing if name in found]
            first = (found[axes] == found[axes].iloc[0]).all(axis=1)
            found = found[first].assign(**{name: nothing[name] for name in axes})
        frames.append(found.assign(threshold=np.nan) if method == "bc_all" else found)
    return pd.concat(frames, ignore_index=True)


def with_numbers(rows: pd.DataFrame, num_preferred: int, label_noise: float = 0.0) -> pd.DataFrame:
    """The rows with the columns of a sweep that recorded N_p and label noise, in cells of their own."""
    ours = rows["method"] != "base"
    return rows.assign(
        num_preferred=np.where(ours, num_preferred, 0),
        label_noise=np.where(ours, label_noise, 0.0),
        cell=np.where(ours, rows["cell"] + f"-{num_preferred}-{label_noise:g}", rows["cell"]),
    )


def one_episode(
    task: str, seed: int, reward: float, cost: float, weight: float | None, split: str = "test"
) -> dict[str, object]:
    """One evaluation episode with these normalised scores at the middle threshold; weight None is the base policy."""
    constants = get_task(task)
    limit = constants.middle_threshold
    return {
        "cell": f"{task}{weight}{seed}",
        "method": "base" if weight is None else "prefine",
        "task": task,
        "preferred": "" if weight is None else "best",
        "threshold": np.nan if weight is None else limit,
        "weight": np.nan if weight is None else weight,
        "seed": seed,
        "episode": 0,
        "return": constants.reward_min + reward * (constants.reward_max - constants.reward_min),
        "cost": cost * limit,
        "terminated": False,
        "split": split,
    }

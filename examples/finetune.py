"""Make the shipped, unsafe base policy of BallRun safe: a minute on one core, without Ray."""

import sys
from pathlib import Path

import prefine_ray as pr
from prefine_ray.policies.zoo import ZOO

data = pr.collect("BallRun", episodes=100)
sides = pr.split_preferences(data, threshold=20, num_preferred=20, num_dispreferred=10, margin=0.5)
base = pr.load_policy(ZOO / "BallRun" / "base.safetensors")
settings = pr.FineTuneSettings(steps=300, batch_size=128, learning_rate=1e-3, schedule="cosine")
tuned = pr.finetune("BallRun", base, data, sides, weights=(0, 5), settings=settings)

results = pr.evaluate_all(tuned, base, "BallRun", threshold=20, episodes=10)
for row in pr.result_table(results).itertuples():
    name = "base" if row.method == "base" else f"weight {row.weight:g}:"
    print(f"{name} reward {row.normalized_reward:.2f}, cost {row.normalized_cost:.2f} of the threshold")
if len(sys.argv) > 1:
    pr.plot_front(results).savefig(Path(sys.argv[1]))

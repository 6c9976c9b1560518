"""Make the shipped, unsafe base policy of BallRun safe: a minute on one core, without Ray."""

import prefine_ray as pr
from prefine_ray.policies.zoo import ZOO

data = pr.collect("BallRun", episodes=100)
sides = pr.split_preferences(data, threshold=20, num_preferred=20, num_dispreferred=10, margin=0.5)
base = pr.load_policy(ZOO / "BallRun" / "base.safetensors")
settings = pr.FineTuneSettings(steps=300, batch_size=128, learning_rate=1e-3, schedule="cosine")
tuned = pr.finetune("BallRun", base, data, sides, weights=(0, 5), settings=settings)

for name, policy in (("base", base), ("weight 0:", tuned.policy(0)), ("weight 5:", tuned.policy(5))):
    scores = pr.evaluate(policy, "BallRun", episodes=10)
    print(
        f"{name} reward {scores['normalized_reward']:.2f}, cost {scores['normalized_cost']['20']:.2f} of the threshold"
    )

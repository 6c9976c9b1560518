import numpy as np
import pytest

import prefine_ray as pr
from tests.makers import small_policy


@pytest.mark.parametrize("name", pr.__all__)
def test_every_public_name_loads(name):
    assert getattr(pr, name) is not None


def test_predict_takes_one_observation_or_a_batch():
    policy = small_policy()
    batch = np.random.default_rng(0).normal(size=(5, policy.architecture.obs_dim)).astype(np.float32)
    actions, state = policy.predict(batch)
    assert state is None
    assert np.array_equal(actions, policy.act(batch))
    assert np.array_equal(policy.predict(batch[2])[0], policy.act(batch[2:3])[0])

"""The source of randomness of all random steps."""

import random

import numpy as np


def rng_of(results: dict) -> np.random.Generator:
    """The generator of an item: the sampler's (``SeededSampler``), or one from global state.

    The random steps of an item share it, so that each draws something else.
    """
    if 'rng' not in results:
        results['rng'] = np.random.default_rng(random.getrandbits(64))
    return results['rng']

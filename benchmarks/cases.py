"""The data sets of the benchmarks."""

from __future__ import annotations

import numpy as np
import pandas as pd

import hierbayes as hb

CASES = {
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", "180 rows, 18 groups"),
    "sim100k": ("y ~ x + (x | g)", "100,000 rows, 1,000 groups"),
    "sim1m": ("y ~ x + (x | g)", "1,000,000 rows, 10,000 groups"),
    "sim10m": ("y ~ x + (x | g)", "10,000,000 rows, 10,000 groups"),
}
"""Formula and size of each case."""
SIZES = {"sim100k": (100_000, 1_000), "sim1m": (1_000_000, 10_000), "sim10m": (10_000_000, 10_000)}


def load(name: str) -> pd.DataFrame:
    """Return the data of a case; simulated ones have a fixed seed."""
    if name in SIZES:
        return simulate(*SIZES[name])
    return hb.load_data(name)


def simulate(rows: int, groups: int, seed: int = 1) -> pd.DataFrame:
    """Simulate random intercepts and slopes with correlation 0.3."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, groups, rows)
    x = rng.normal(size=rows)
    b = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.15], [0.15, 0.25]], groups)
    y = 1.0 + b[g, 0] + (0.5 + b[g, 1]) * x + rng.normal(size=rows)
    return pd.DataFrame({"y": y, "x": x, "g": g})

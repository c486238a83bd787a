"""The data sets that the tutorials simulate, number for number.

A tutorial seeds NumPy's global legacy generator and draws from it in a certain order.  Each recipe
draws in that same order from a `numpy.random.RandomState` of its own, which yields the same stream
and leaves the global generator as it was.  The order of the draws is therefore part of a recipe.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

SEED = 42


def clustered_blobs() -> pd.DataFrame:
    """Three clouds along the diagonal; inside each, X and y are drawn independently.

    Returns
    -------
    pandas.DataFrame
        150 rows: cluster (0, 1, 2), X, y.

    Examples
    --------
    >>> clustered_blobs().groupby("cluster").size().tolist()
    [50, 50, 50]
    """
    stream = np.random.RandomState(SEED)
    clouds = [(stream.normal(centre, 0.5, 50), stream.normal(centre, 0.5, 50)) for centre in (0, 3, 6)]
    X, y = np.concatenate(clouds, axis=1)
    return pd.DataFrame({"cluster": np.repeat(np.arange(3), 50), "X": X, "y": y})


def simpson() -> pd.DataFrame:
    """Two uniform squares side by side, in groups A and B.

    Returns
    -------
    pandas.DataFrame
        200 rows: group, x, y.

    Examples
    --------
    >>> simpson()["group"].unique().tolist()
    ['A', 'B']
    """
    stream = np.random.RandomState(SEED)
    x_a, y_a = stream.uniform(0, 10, 100), stream.uniform(0, 10, 100) + 5
    x_b, y_b = stream.uniform(5, 15, 100), stream.uniform(5, 15, 100)
    return pd.DataFrame(
        {
            "group": np.repeat(["A", "B"], 100),
            "x": np.concatenate([x_a, x_b]),
            "y": np.concatenate([y_a, y_b]),
        }
    )


def reversal() -> pd.DataFrame:
    """Eight groups along a rising line, in each of which y falls with x: Simpson's paradox with known slopes.

    ``y = 1.2 x̄ - 0.8 (x - x̄) + u + e`` with x̄ the mean that the group was drawn around (0, 1, …, 7), the sd of x
    within a group 1, that of u 0.5 and that of e 1.

    Returns
    -------
    pandas.DataFrame
        200 rows: group (A to H), x, y.

    Notes
    -----
    Not of a tutorial: theirs, `simpson`, has no trend to reverse.

    Examples
    --------
    >>> data = reversal()
    >>> data["x"].corr(data["y"]) > 0, data.groupby("group").apply(lambda g: g["x"].corr(g["y"]) < 0).all()
    (np.True_, np.True_)
    """
    stream = np.random.RandomState(SEED)
    centre = np.repeat(np.arange(8.0), 25)
    deviation, effect = stream.normal(0, 1, 200), np.repeat(stream.normal(0, 0.5, 8), 25)
    y = 1.2 * centre - 0.8 * deviation + effect + stream.normal(0, 1, 200)
    return pd.DataFrame({"group": np.repeat(list("ABCDEFGH"), 25), "x": centre + deviation, "y": y})


def five_groups() -> pd.DataFrame:
    """Five groups whose mean shifts the predictor and the response alike.

    Returns
    -------
    pandas.DataFrame
        100 rows: group (0 to 4), X, y.

    Examples
    --------
    >>> five_groups().shape
    (100, 3)
    """
    stream = np.random.RandomState(SEED)
    means = stream.normal(0, 1, 5)
    group = np.repeat(np.arange(5), 20)
    X = stream.normal(0, 1, 100) + means[group]
    y = 0.5 * X + stream.normal(0, 0.5, 100) + means[group]
    return pd.DataFrame({"group": group, "X": X, "y": y})


def arma_clusters() -> pd.DataFrame:
    """Three ARMA(1, 1) series that start from zero, without burn-in, each raised to a level of its own.

    Returns
    -------
    pandas.DataFrame
        150 rows: cluster (0, 1, 2), time (0 to 49), value.

    Examples
    --------
    >>> arma_clusters()["value"].head(2).round(6).tolist()
    [0.647689, 2.45301]
    """
    from scipy.signal import lfilter  # slow to import, and needed nowhere else here

    stream = np.random.RandomState(SEED)
    series = []
    for cluster in range(3):
        ar = 0.75 + 0.1 * stream.randn()
        ma = 0.65 + 0.1 * stream.randn()
        series.append(lfilter([1, ma], [1, -ar], stream.standard_normal(50)) + cluster * 2)
    return pd.DataFrame(
        {
            "cluster": np.repeat(np.arange(3), 50),
            "time": np.tile(np.arange(50), 3),
            "value": np.concatenate(series),
        }
    )


def unbalanced_clusters() -> pd.DataFrame:
    """Five clusters of very different sizes on one regression line.

    Returns
    -------
    pandas.DataFrame
        380 rows: cluster (0 to 4), X, y.

    Examples
    --------
    >>> unbalanced_clusters().groupby("cluster").size().tolist()
    [10, 20, 50, 100, 200]
    """
    stream = np.random.RandomState(SEED)
    sizes = [10, 20, 50, 100, 200]
    parts = []
    for cluster, size in enumerate(sizes):
        X = stream.normal(cluster, 1, size)
        parts.append((X, 0.5 * X + stream.normal(0, 0.5, size)))
    X, y = np.concatenate(parts, axis=1)
    return pd.DataFrame({"cluster": np.repeat(np.arange(5), sizes), "X": X, "y": y})


def education() -> pd.DataFrame:
    """Test scores and hours of study in ten schools.

    Returns
    -------
    pandas.DataFrame
        500 rows: school (0 to 9), study_hours, test_score.

    Examples
    --------
    >>> education().shape
    (500, 3)
    """
    hours, score = _shifted_lines(groups=10, size=50, group_sd=5, centre=5, spread=2, residual_sd=10)
    return pd.DataFrame({"school": np.repeat(np.arange(10), 50), "study_hours": hours, "test_score": score})


def environment() -> pd.DataFrame:
    """Air pollution and temperature on thirty days in eight cities.

    Returns
    -------
    pandas.DataFrame
        240 rows: city (0 to 7), temperature (degrees Celsius), pollution.

    Examples
    --------
    >>> environment().shape
    (240, 3)
    """
    degrees, pollution = _shifted_lines(groups=8, size=30, group_sd=10, centre=25, spread=5, residual_sd=15)
    return pd.DataFrame({"city": np.repeat(np.arange(8), 30), "temperature": degrees, "pollution": pollution})


def repeated_measures() -> pd.DataFrame:
    """Four subjects at five times, two under control and two under treatment, and a response of noise.

    Returns
    -------
    pandas.DataFrame
        20 rows: subject (A to D), time (0 to 4), treatment, response.

    Notes
    -----
    The tutorial sets no seed; `SEED` makes the numbers repeatable.

    Examples
    --------
    >>> repeated_measures().drop_duplicates("subject")[["subject", "treatment"]].values.tolist()
    [['A', 'control'], ['B', 'control'], ['C', 'treatment'], ['D', 'treatment']]
    """
    stream = np.random.RandomState(SEED)
    return pd.DataFrame(
        {
            "subject": np.repeat(["A", "B", "C", "D"], 5),
            "time": np.tile(np.arange(5), 4),
            "treatment": np.repeat(["control", "treatment"], 10),
            "response": stream.normal(0, 1, 20),
        }
    )


def crossed() -> pd.DataFrame:
    """Fifty subjects by thirty items, and a response of noise.

    Returns
    -------
    pandas.DataFrame
        1500 rows: subject (0 to 49), item (0 to 29), condition (A or B), response.

    Examples
    --------
    >>> crossed().groupby(["subject", "item"]).size().max()
    np.int64(1)
    """
    stream = np.random.RandomState(SEED)
    return pd.DataFrame(
        {
            "subject": np.repeat(np.arange(50), 30),
            "item": np.tile(np.arange(30), 50),
            "condition": stream.choice(["A", "B"], 1500),
            "response": stream.normal(0, 1, 1500),
        }
    )


def power_study() -> pd.DataFrame:
    """One data set of the kind that a power analysis by simulation draws many times.

    Returns
    -------
    pandas.DataFrame
        100 rows: subject (0 to 19), X, y.

    Notes
    -----
    The tutorial sets no seed; `SEED` makes the numbers repeatable.

    Examples
    --------
    >>> power_study().groupby("subject").size().unique().tolist()
    [5]
    """
    stream = np.random.RandomState(SEED)
    X = stream.normal(0, 1, 100)
    intercepts = stream.normal(0, 0.5, 20)
    y = 0.3 * X + np.repeat(intercepts, 5) + stream.normal(0, 1, 100)
    return pd.DataFrame({"subject": np.repeat(np.arange(20), 5), "X": X, "y": y})


def _shifted_lines(
    *, groups: int, size: int, group_sd: float, centre: float, spread: float, residual_sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw x and y of parallel lines with slope 2, one random intercept per group of `size` points."""
    stream = np.random.RandomState(SEED)
    parts = []
    for _ in range(groups):
        intercept = stream.normal(0, group_sd)
        x = stream.normal(centre, spread, size)
        parts.append((x, 2 * x + intercept + stream.normal(0, residual_sd, size)))
    x, y = np.concatenate(parts, axis=1)
    return x, y

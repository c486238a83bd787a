"""Power by simulation: the studies of one design, simulated, fitted and tested."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import warnings
from collections.abc import Callable

from benchmarks.cases import STUDIES, Case
from benchmarks.process import Figures, repeated

GROUPS, ROWS, EFFECT, SD = 20, 5, 0.3, 0.5
"""The case of the tutorial: residual standard deviation 1, a predictor that is standard normal in every row."""


def _timed(power: Callable[[], float]) -> Figures:
    figures = repeated(power)
    return figures | {"power": figures.pop("criterion")}


def hierbayes(case: Case) -> Figures:
    """Simulate with `hierbayes.power`; t tests with Satterthwaite's degrees of freedom."""
    from scipy.stats import norm

    import hierbayes as hb

    def power() -> float:
        found = hb.power(
            case.formula,
            effects={"X": EFFECT},
            sds={"subject": SD},
            sigma=1.0,
            groups=GROUPS,
            rows=ROWS,
            within={"X": norm()},
            simulations=STUDIES,
            seed=1,
        )
        return float(found.table["power"][0])

    return _timed(power)


def statsmodels(case: Case) -> Figures:
    """Simulate in a loop with statsmodels, as the tutorial does; z tests."""
    import numpy as np
    import pandas as pd
    import statsmodels.formula.api as smf

    subject = np.repeat(np.arange(GROUPS), ROWS)
    rng = np.random.default_rng(1)

    def significant() -> bool:
        X = rng.standard_normal(len(subject))
        y = EFFECT * X + rng.normal(0.0, SD, GROUPS)[subject] + rng.standard_normal(len(subject))
        data = pd.DataFrame({"subject": subject, "X": X, "y": y})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = smf.mixedlm("y ~ X", data, groups="subject").fit()
        return bool(fit.pvalues["X"] < 0.05)

    return _timed(lambda: sum(significant() for _ in range(STUDIES)) / STUDIES)

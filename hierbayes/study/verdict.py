"""One simulated study, and what is concluded from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.estimates import Estimate
from hierbayes.marginal import Marginal
from hierbayes.moments import take_moments
from hierbayes.refits import Refitter
from hierbayes.reml import maximise
from hierbayes.specification import Specification


@dataclass(frozen=True, eq=False)
class Study:
    """A simulated study.

    Parameters
    ----------
    point : int
        Which of the designs compared it is of, from 0.
    number : int
        Its number among the simulations of that design, from 0.
    design : Design
        With the simulated response.
    truth : dict
        The parameters that it was simulated with, by (effect, group, term) as in `RemlFit.tidy`.
    seed : numpy.random.SeedSequence
        For randomness in its judgement; nothing else uses it.
    template : Specification
        Formula and arguments; its data and design are those of another study.
    frame : callable
        Makes the rows of this study; their response means nothing.
    refitter : Refitter, optional
        Where all studies have the same predictors: prepared for any response.
    """

    point: int
    number: int
    design: Design
    truth: dict[tuple[str, str, str], float]
    seed: np.random.SeedSequence
    template: Specification = field(repr=False)
    frame: Callable[[], pd.DataFrame] = field(repr=False)
    refitter: Refitter | None = field(default=None, repr=False)

    @cached_property
    def specification(self) -> Specification:
        """What a `hierbayes.Model` of this study would be made of, its automatic priors included.

        Raises
        ------
        HierbayesError
            If the response is computed in the formula, so that no column has it.
        """
        data, name = self.frame(), self.design.response
        if name not in data.columns:
            raise HierbayesError(f"The response {name!r} is computed in the formula; make it a column of the data.")
        return replace(self.template, design=self.design, data=data.assign(**{name: self.design.y}))

    @cached_property
    def likelihood(self) -> Marginal:
        """The likelihood that REML and ML maximise."""
        if self.refitter is not None:
            return self.refitter.likelihood(self.design.y)
        return Marginal(self.design, None, take_moments(self.design))

    def estimate(self, method: str = "REML") -> Estimate:
        """Fit the study by REML or ML."""
        return Estimate(self.likelihood, maximise(self.likelihood, method == "REML"), method)


@dataclass(frozen=True)
class Verdict:
    """What is concluded from one study.

    Parameters
    ----------
    significant : bool
        Whether the study finds what it was made to find; False, and not to be counted, where it failed.
    p_value : float
        Of the test; of a posterior, the probability that the effect is not on the side of its mean.
    estimate, std_error, df, conf_low, conf_high : float
        Of what is tested; NaN where they do not exist.
    singular : bool
        The estimate is on the boundary. That is a result, no failure.
    failure : str or None
        Why there is no conclusion: such a study is counted apart.
    """

    significant: bool
    p_value: float
    estimate: float = np.nan
    std_error: float = np.nan
    df: float = np.nan
    conf_low: float = np.nan
    conf_high: float = np.nan
    singular: bool = False
    failure: str | None = None


def failed(why: str) -> Verdict:
    """The verdict on a study that cannot be judged."""
    return Verdict(False, np.nan, failure=why)


class Judge(Protocol):
    """Concludes something from a study; can be pickled."""

    def judge(self, study: Study) -> Verdict:
        """Fit the study and test it; `hierbayes.errors.HierbayesError` counts as a failure."""

    def truth(self, study: Study) -> float:
        """What is to be estimated, from the parameters that the study was simulated with; NaN if no number."""

    @property
    def words(self) -> str:
        """What is tested and how, as the end of a sentence."""

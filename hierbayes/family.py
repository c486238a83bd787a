"""The distribution of the response given the linear predictor, by name: what Bambi calls the family.

The distributions themselves are Bambi's and PyMC's (`hierbayes.from_bambi`); those that maximum likelihood knows are
in `hierbayes.kernel_family`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family and its link.

    Parameters
    ----------
    name : str
        As Bambi calls it: ``"binomial"``, ``"negativebinomial"``.
    parent : str
        The parameter that the linear predictor determines: ``"mu"``, ``"p"``.
    link : str
        Link function of that parameter.
    auxiliary : tuple of str
        Further parameters, one value each for all rows (a vector for thresholds).
    response : {"plain", "censored", "truncated", "constrained", "weighted"}
        How the response is observed; all but the first are functions of Bambi around the response of the formula.

    Examples
    --------
    >>> Family("poisson", "mu", "log")
    poisson(log)
    >>> GAUSSIAN.exact
    True
    """

    name: str
    parent: str
    link: str
    auxiliary: tuple[str, ...] = ()
    response: str = "plain"

    @property
    def exact(self) -> bool:
        """Whether random effects can be integrated out in closed form: a Gaussian response with identity link."""
        return (self.name, self.link, self.response) == ("gaussian", "identity", "plain")

    @property
    def ordinal(self) -> bool:
        """Whether thresholds take the place of the intercept."""
        return self.name in {"cumulative", "sratio"}

    @property
    def categorical(self) -> bool:
        """Whether the response is one of several categories."""
        return self.ordinal or self.name == "categorical"

    @property
    def multinomial(self) -> bool:
        """Whether the response is a count for each of several categories."""
        return self.name in {"multinomial", "dirichlet_multinomial"}

    @property
    def with_trials(self) -> bool:
        """Whether the response is a number of successes among a number of trials."""
        return self.name in {"binomial", "beta_binomial", "zero_inflated_binomial"}

    def __repr__(self) -> str:
        observed = "" if self.response == "plain" else f", {self.response}"
        return f"{self.name}({self.link}{observed})"


GAUSSIAN = Family("gaussian", "mu", "identity", ("sigma",))

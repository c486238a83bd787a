"""Priors as tables: what a model assumes before it sees the response, ready to print.

The specification is Bambi's (`bambi.Prior`); `hierbayes.from_bambi` translates it into these
frozen values, which know neither Bambi nor PyMC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hierbayes.densities import CODES, FAMILIES, POSITIVE


@dataclass(frozen=True)
class Prior:
    """A distribution by its PyMC name, with numbers for parameters.

    Parameters
    ----------
    name : str
        For example ``"Normal"``.
    args : dict of str to float or array
        Parameters by PyMC's names.

    Examples
    --------
    >>> Prior("HalfStudentT", {"nu": 4, "sigma": 56.17212})
    HalfStudentT(nu=4, sigma=56.17)
    """

    name: str
    args: dict[str, float]

    def __repr__(self) -> str:
        inside = ", ".join(f"{key}={value:.4g}" for key, value in self.args.items())
        return f"{self.name}({inside})"

    @property
    def row(self) -> list[float] | None:
        """Row for the compiled sampler: family code and three parameters; None if it has no such family."""
        if self.name not in FAMILIES or set(self.args) != set(FAMILIES[self.name]):
            return None
        values = [float(self.args[key]) for key in FAMILIES[self.name]]
        return [float(CODES[self.name]), *values, *[0.0] * (3 - len(values))]

    @property
    def positive(self) -> bool:
        """Whether the family lives on the positive half line and the compiled sampler knows it."""
        return self.name in POSITIVE

    @property
    def integrable(self) -> bool:
        """Whether a fixed effect with this prior can be integrated out in closed form."""
        return self.name == "Flat" or (self.name == "Normal" and set(self.args) == {"mu", "sigma"})


@dataclass(frozen=True)
class Priors:
    """The priors of one model, each list in the order of the design.

    Parameters
    ----------
    coefficients : tuple of Prior
        One per column of X.
    centered : bool
        Whether the prior of the intercept refers to the intercept at the mean of the predictors.
    sds : tuple of Prior
        One per random effect.
    sigma : Prior or None
        Of the residual standard deviation; None where it is known.
    eta : tuple of float
        LKJ shape of each block; unused for an uncorrelated block.
    rho : float or None
        Residual correlation ρ: its place in its range, scaled to (0, 1), is Beta(rho, rho). None for
        independent residuals.
    auxiliary : dict of str to tuple of Prior, or number
        Further parameters of a family that is not Gaussian, one prior an entry; a number where the parameter is
        held at it.
    """

    coefficients: tuple[Prior, ...]
    centered: bool
    sds: tuple[Prior, ...]
    sigma: Prior | None
    eta: tuple[float, ...]
    rho: float | None = None
    auxiliary: dict[str, tuple[Prior, ...] | float] = field(default_factory=dict)

    @property
    def kept(self) -> np.ndarray:
        """(p,) bool: the fixed effects that NUTS samples because they cannot be integrated out."""
        return np.array([not prior.integrable for prior in self.coefficients], dtype=bool)

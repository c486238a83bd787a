"""Names of variables, dimensions and groups in the posterior, written once. They are Bambi's."""

from __future__ import annotations

SIGMA = "sigma"
RHO = "rho"
INTERCEPT = "Intercept"
CHAIN, DRAW = "chain", "draw"
OBSERVATIONS, OUTCOME = "__obs__", "outcome"
ROW = "row"
"""Dimension of rows that are left out and scored: what ArviZ does with them uses Bambi's name for something else."""
RANEF_SUMMARY = "ranef_summary"
STATISTIC = "statistic"
ARRAYS = {"(weights)": "weights", "(se)": "se"}
"""Columns of arguments that were given as arrays."""
STREAMED = "ranef_folder"
"""Attribute: the zarr folder that draws of the random effects were streamed to."""


def effect(term: str, factor: str) -> str:
    """Random effects of a term: ``"1|Subject"``, ``"Days|Subject"``."""
    return f"{term}|{factor}"


def sd(term: str, factor: str) -> str:
    """Standard deviation of the random effects of a term: ``"Days|Subject_sigma"``."""
    return f"{effect(term, factor)}_sigma"


def corr(factor: str, block: int = 0) -> str:
    """Correlation matrix of a correlated block: ``"Subject_corr"``, for the next block ``"Subject_corr2"``."""
    return f"{factor}_corr" if block == 0 else f"{factor}_corr{block + 1}"


def partial(factor: str, block: int = 0) -> str:
    """Partial correlations that the sampler moves in, mapped to (0, 1)."""
    return f"{corr(factor, block)}_partial"


def corr_dims(factor: str, block: int = 0) -> tuple[str, str]:
    """Rows and columns of a correlation matrix."""
    name = corr(factor, block)
    return f"{name}_dim", f"{name}_dim_bis"


def levels_dim(factor: str) -> str:
    """Levels of a grouping factor."""
    return f"{factor}__factor_dim"


def expr_dim(term: str) -> str:
    """Columns of a categorical random-effect term."""
    return f"{term}__expr_dim"


def term_dim(term: str) -> str:
    """Columns of a categorical fixed-effect term."""
    return f"{term}_dim"

r"""Which parametrisation NUTS moves in, and why.

Marginal: random effects integrated out; a handful of dimensions, no funnel, and the effects recovered
exactly afterwards. It is what a Gaussian response allows and what ``"auto"`` takes, unless eliminating
the effects costs more than sampling them: crossed factors leave a dense core whose Cholesky factor is
needed at every step.

Otherwise every effect is a variable, and each block of effects b_j with Σ = L Lᵀ is written in one of two
ways: centred, ``b_j ~ N(0, Σ)``, or non-centred, ``b_j = L z_j``. Which one mixes well is decided by the
information in the data of a level relative to that of the prior (Papaspiliopoulos, Roberts & Sköld
2007, Statistical Science 22, 59-73; for Hamiltonian Monte Carlo Betancourt & Girolami 2015, in Current
Trends in Bayesian Methodology with Applications, 79-101).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hierbayes.covariance import cholesky
from hierbayes.design import Design
from hierbayes.marginal import Marginal

MARGINAL, NONCENTERED, CENTERED, AUTO = "marginal", "noncentered", "centered", "auto"
PARAMETERIZATIONS = (MARGINAL, NONCENTERED, CENTERED, AUTO)
LARGE_CORE = 3000
"""Columns of a dense core beyond which an evaluation takes seconds."""


@dataclass(frozen=True)
class Choice:
    """A parametrisation and its reason.

    Parameters
    ----------
    marginal : bool
    blocks : tuple of {"centered", "noncentered"}
        One a block of the design; empty if marginal.
    reason : str
        In words.
    """

    marginal: bool
    blocks: tuple[str, ...]
    reason: str


@dataclass(frozen=True, eq=False)
class Pilot:
    """What a quick fit says of a design.

    Parameters
    ----------
    covariance : (q, q) array
        Of the random effects, at the maximum of the likelihood.
    information : (n,) array
        About the linear predictor of each row.
    source : str
        Of what fit, in words.
    """

    covariance: np.ndarray
    information: np.ndarray
    source: str


def choose(wanted: str, marginal: Marginal, covariance: np.ndarray, sigma: float) -> Choice:
    """Resolve what the user asked for.

    Parameters
    ----------
    wanted : {"marginal", "noncentered", "centered", "auto"}
    marginal : Marginal
    covariance : (q, q) array
        Estimated covariance of the random effects, for ``"auto"``.
    sigma : float
        Estimated residual standard deviation.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        For another name, or for a conditional parametrisation of correlated residuals.
    """
    _check_known(wanted)
    design, forest = marginal.design, marginal.moments.forest
    core = 0 if forest is None else forest.core
    if wanted == MARGINAL:
        return Choice(True, (), "asked for")
    if wanted == AUTO and (core <= LARGE_CORE or design.residual is not None):
        return Choice(True, (), "the response is Gaussian, so the random effects are integrated out")
    if design.residual is not None:
        raise ValueError(
            f"parameterization={wanted!r} needs independent residuals; use 'marginal' with residual="
            f"{design.residual.text!r}"
        )
    if wanted in {CENTERED, NONCENTERED}:
        return Choice(False, (wanted,) * len(design.blocks), "asked for")
    table = information(design, covariance, sigma)
    return Choice(
        False,
        tuple(table["choice"]),
        f"the crossed factors leave a dense core of {core} columns, too many to eliminate at every step; "
        + _reasons(table),
    )


def choose_blocks(wanted: str, design: Design, pilot: Callable[[Design], Pilot | None]) -> Choice:
    """Resolve what the user asked for of a family whose random effects cannot be integrated out in closed form.

    Parameters
    ----------
    wanted : {"auto", "noncentered", "centered"}
    design : Design
    pilot : callable
        Makes the quick fit that ``"auto"`` judges by, or None if there is none.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        For another name, or one that the family does not allow.
    """
    _check_known(wanted)
    if wanted == MARGINAL:
        raise ValueError(
            f"parameterization='marginal' needs a Gaussian response with identity link, not {design.family}; "
            "use 'auto'"
        )
    single = design.outcomes is None
    if wanted == CENTERED and not single and any(part.free for part in design.parts):
        raise ValueError(f"correlated effects of the family {design.family.name!r} are non-centred; use 'auto'")
    if wanted != AUTO:
        return Choice(False, (wanted,) * len(design.blocks), "asked for")
    found = pilot(design) if single else None
    if found is None:
        blocks = (NONCENTERED,) * len(design.blocks)
        return Choice(False, blocks, "without an estimate to judge by, non-centred is safe where groups are small")
    table = information(replace(design, weights=found.information), found.covariance, 1.0)
    return Choice(False, tuple(table["choice"]), f"{_reasons(table)} (by an {found.source})")


def _check_known(wanted: str) -> None:
    if wanted not in PARAMETERIZATIONS:
        raise ValueError(f"parameterization must be one of {', '.join(PARAMETERIZATIONS)}, not {wanted!r}")


def _reasons(table: pd.DataFrame) -> str:
    return "; ".join(f"{row.terms}|{row.group} {row.choice}: {row.reason}" for row in table.itertuples())


def information(design: Design, covariance: np.ndarray, sigma: float) -> pd.DataFrame:
    r"""Choose a parametrisation for each block by what the data of a level say about its effects.

    For a level with effect columns Z_j (rows scaled by the roots of their weights) the data have the
    information ``A_j = Z_jᵀ Z_j / σ²`` about its effects, the prior has Σ⁻¹, Σ = L Lᵀ. The smallest
    eigenvalue of ``Lᵀ A_j L`` is the ratio of the two in the direction that the data know least, where a
    centred form has its funnel. With r its median over J levels, the standard deviation is known up to a factor
    ``exp(±2 (1 + 1/r) / √(2J))`` (twice its large-sample standard error), and a chain goes there: if r is above 1
    even at the lower end, the data dominate and the block is centred; otherwise it is non-centred. (For a Gibbs
    sampler of one Gaussian effect with
    known variances the two converge at equal rates where the ratio is 1: Papaspiliopoulos, Roberts &
    Sköld 2007.)

    Parameters
    ----------
    design : Design
    covariance : (q, q) array
        Σ of all blocks, block-diagonal in the order of ``design.blocks``, in the units of the data.
    sigma : float
        Residual standard deviation.

    Returns
    -------
    pandas.DataFrame
        One row a block: ``group``, ``terms``, ``levels`` (their number), ``ratio``, ``choice``,
        ``reason``.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy"))
    >>> information(model.design, np.array([[37.0**2]]), 31.0)[["terms", "levels", "ratio", "choice"]].round(1)
      terms  levels  ratio    choice
    0     1      18   14.2  centered
    """
    rows = []
    for part in design.parts:
        block = part.block
        levels, size = len(block.factor.levels), block.Z.shape[1]
        Z = block.Z if design.weights is None else block.Z * np.sqrt(design.weights)[:, None]
        L = cholesky(covariance[part.where, part.where]) / sigma
        white = Z @ L
        A = np.empty((levels, size, size))
        for i in range(size):
            for j in range(size):
                A[:, i, j] = np.bincount(block.factor.codes, white[:, i] * white[:, j], minlength=levels)
        ratio = float(np.median(np.linalg.eigvalsh(A)[:, 0]))
        low = ratio * np.exp(-4.0 * (1.0 + 1.0 / max(ratio, 1e-300)) / np.sqrt(2.0 * levels))
        reason = (
            f"the data of a typical level outweigh the prior of its effects by {ratio:.3g} to 1"
            if ratio > 1.0
            else f"the prior of its effects outweighs the data of a typical level, {ratio:.3g} to 1"
        )
        if not L.any():
            reason = "the quick fit finds no variance in these effects"
        if low <= 1.0 < ratio:
            reason += f", but perhaps by no more than {low:.2g} to 1"
        rows.append(
            {
                "group": block.factor.name,
                "terms": " + ".join(term.name for term in block.terms),
                "levels": levels,
                "ratio": ratio,
                "choice": CENTERED if low > 1.0 else NONCENTERED,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows)

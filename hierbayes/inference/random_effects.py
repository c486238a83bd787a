r"""Tests of the random effects, each against the model without it.

Every pair of parentheses of the formula is left out, and of those with several effects also every single one:

- ``(x | g)`` becomes ``(1 | g)``: the slope goes with its correlation, and the intercept only together with it;
- ``(x || g)`` becomes ``(1 | g)`` or ``(0 + x | g)``;
- an effect that is part of an interaction in the same parentheses stays as long as the interaction does.

The last of them may go too: what is left then is a regression. The fixed effects are the same in all models, so
restricted likelihoods can be compared, and a variance of zero has the distribution of `hierbayes.inference.boundary`.
``ranova`` of lmerTest (Kuznetsova, Brockhoff & Christensen 2017, Journal of Statistical Software 82, 13) makes the
same reductions, with p-values from χ² that are too large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from hierbayes.design import Block, Design
from hierbayes.errors import DataError
from hierbayes.estimates import Estimate
from hierbayes.inference.boundary import likelihood_ratio
from hierbayes.marginal import Marginal
from hierbayes.reml import maximise

COLUMNS = ["term", "n_par", "loglik", "AIC", "chisq", "df", "p_value", "p_naive", "note"]
NOTHING = "<none>"
"""The model itself, in the column ``term``."""
INTERCEPT = "1"


def ranova(fit: Estimate, simulate: int = 0, seed: int | None = None, progress: bool | None = None) -> pd.DataFrame:
    """Test every random effect by a likelihood ratio against the model without it.

    Parameters
    ----------
    fit : Estimate
        By REML or ML; the models without an effect are fitted by the same method.
    simulate : int, default 0
        Draw so many responses from each smaller model for its p-value, as `hierbayes.lrt` does.
    seed : int, optional
        For `simulate`.
    progress : bool, optional
        Show a progress bar for `simulate`; by default if somebody is watching.

    Returns
    -------
    pandas.DataFrame
        One row a reduced model after that of the model itself (``"<none>"``): term (what is left out), n_par,
        loglik, AIC, and of the comparison with the model chisq, df, p_value (with the boundary taken into account),
        p_naive (χ² with df degrees of freedom, as lmerTest's) and a note that says how p_value was computed.

    Raises
    ------
    DataError
        If the model has no random effects.
    ValueError
        If `simulate` is not a whole number.

    Warns
    -----
    ConvergenceWarning
        If a comparison is not to be trusted.
    """
    if not fit.design.blocks:
        raise DataError("The model has no random effects to test; compare residual correlations with hb.lrt.")
    rows: list[tuple] = [(NOTHING, fit.n_par, fit.loglik, fit.aic, *[np.nan] * 4, "")]
    for term, design in reductions(fit.design):
        marginal = Marginal(design)
        smaller = Estimate(marginal, maximise(marginal, fit.method == "REML"), fit.method)
        test = likelihood_ratio(smaller, fit, simulate, seed, progress)
        compared = (test.chisq, test.df, test.p_value, test.p_naive, test.note)
        rows.append((term, smaller.n_par, smaller.loglik, smaller.aic, *compared))
    return pd.DataFrame(rows, columns=COLUMNS)


def reductions(design: Design) -> Iterator[tuple[str, Design]]:
    """Every design with one random effect less, and what it lacks.

    Parameters
    ----------
    design : Design

    Yields
    ------
    term : str
        ``"x in (x | g)"`` or ``"(x | g)"``.
    Design
    """
    for k, block in enumerate(design.blocks):
        kept = [[block for j, block in enumerate(design.blocks) if j != k]]
        left_out = [_written(block)]
        ends = np.cumsum([len(term.labels) for term in block.terms])
        for t in reversed(range(len(block.terms))):
            if _separable(block, t):
                columns = np.r_[0 : ends[t] - len(block.terms[t].labels), ends[t] : ends[-1]]
                smaller = replace(block, terms=block.terms[:t] + block.terms[t + 1 :], Z=block.Z[:, columns])
                kept.insert(0, [*design.blocks[:k], smaller, *design.blocks[k + 1 :]])
                left_out.insert(0, f"{block.terms[t].name} in {_written(block)}")
        for blocks, term in zip(kept, left_out, strict=True):
            yield term, replace(design, blocks=tuple(blocks), formula=f"{design.formula} without {term}")


def _separable(block: Block, t: int) -> bool:
    """Whether a term of a block can be left out on its own."""
    term, others = block.terms[t], block.terms[:t] + block.terms[t + 1 :]
    if not others or (term.name == INTERCEPT and block.correlated):
        return False
    variables = {part.name for part in term.components}
    return term.name == INTERCEPT or not any(variables < {part.name for part in other.components} for other in others)


def _written(block: Block) -> str:
    """A block as a formula spells it."""
    effects = [term.name for term in block.terms]
    if INTERCEPT not in effects:
        effects.insert(0, "0")
    elif len(effects) > 1:
        effects.remove(INTERCEPT)
    return f"({' + '.join(effects)} {'|' if block.correlated else '||'} {block.factor.name})"

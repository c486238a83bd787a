"""The PyMC graph of a model: priors as PyMC distributions, the marginal likelihood as an Op.

Random effects, and fixed effects with a Normal or flat prior, are integrated out, so the graph has
only standard deviations, partial correlations, σ, and the fixed effects with other priors. Draws
from it are completed by `hierbayes.recover`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from hierbayes import names
from hierbayes.covariance import Layout
from hierbayes.marginal import Marginal
from hierbayes.op import MarginalDensity
from hierbayes.priors import Prior, Priors


def build_graph(marginal: Marginal, priors: Priors) -> pm.Model:
    """Build the PyMC model of the marginal posterior.

    Parameters
    ----------
    marginal : Marginal
    priors : Priors

    Returns
    -------
    pymc.Model
        Free variables ``<term>|<factor>_sigma``, ``<factor>_corr_partial`` ((r + 1)/2 of the partial
        correlations), ``sigma`` and the fixed effects that are not integrated out; deterministic
        ``<factor>_corr``; a potential with the log marginal density.
    """
    design = marginal.design
    layout = design.layout
    factor = design.factor.name
    with pm.Model() as model:
        sds: list[Any] = []
        partial_parts: list[Any] = []
        at = 0
        for number, (block, free) in enumerate(zip(design.blocks, layout.correlated, strict=True)):
            for term in block.terms:
                width = len(term.labels)
                dims = None
                if term.levels is not None:
                    dims = names.expr_dim(term.name)
                    model.add_coord(dims, list(term.levels))
                sds.append(_variable(names.sd(term.name, factor), priors.sds[at : at + width], dims))
                at += width
            if free:
                size = block.Z.shape[1]
                shapes = Layout((size,), (True,)).lkj_shapes((priors.eta[number],))
                r = 2.0 * pm.Beta(names.partial(factor, number), shapes, shapes, shape=len(shapes)) - 1.0
                partial_parts.append(r)
                dims_corr = names.corr_dims(factor, number)
                for dim in dims_corr:
                    model.add_coord(dim, block.labels)
                pm.Deterministic(names.corr(factor, number), _correlation(r, size), dims=dims_corr)
        sigma = _variable(names.SIGMA, (priors.sigma,), None)
        kept: list[Any] = []
        at = 0
        for term in design.terms:
            width = len(term.labels)
            if marginal.kept[at]:
                dims = None
                if term.levels is not None:
                    dims = names.term_dim(term.name)
                    model.add_coord(dims, list(term.levels))
                kept.append(_variable(term.name, priors.coefficients[at : at + width], dims))
            at += width
        parts = [*sds, *partial_parts, sigma, *kept]
        theta = pt.concatenate([pt.atleast_1d(part) for part in parts])
        density = MarginalDensity().make_node(theta, marginal.packed).outputs[0]
        pm.Potential(f"{design.response}_marginal", density)
    return model


def _variable(name: str, priors: tuple[Prior, ...], dims: str | None) -> Any:
    """A PyMC variable from one prior a column."""
    distribution = getattr(pm, priors[0].name)
    if dims is None:
        # as arrays: PyTensor would keep bare numbers, and what it computes from them, in single precision
        return distribution(name, **{key: np.asarray(value) for key, value in priors[0].args.items()})
    return distribution(name, **{key: np.array([p.args[key] for p in priors]) for key in priors[0].args}, dims=dims)


def _correlation(partial: Any, size: int) -> Any:
    """Correlation matrix from partial correlations, row by row (see `hierbayes.covariance`)."""
    rows = []
    at = 0
    for i in range(size):
        rest: Any = pt.as_tensor(1.0)
        row = []
        for _ in range(i):
            row.append(partial[at] * rest)
            rest = rest * pt.sqrt(1.0 - partial[at] ** 2)
            at += 1
        rows.append(pt.stack([*row, rest, *[pt.as_tensor(0.0)] * (size - i - 1)]))
    C = pt.stack(rows)
    return C @ C.T

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
from hierbayes.design import Part
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
    with pm.Model() as model:
        sds: list[Any] = []
        partial_parts: list[Any] = []
        for number, part in enumerate(design.parts):
            factor = part.factor.name
            at = part.where.start
            for term in part.block.terms:
                width = len(term.labels)
                dims = None
                if term.levels is not None:
                    dims = names.expr_dim(term.name)
                    model.add_coord(dims, list(term.levels))
                sds.append(variable(names.sd(term.name, factor), priors.sds[at : at + width], dims))
                at += width
            if part.free:
                partial_parts.append(correlated(model, part, priors.eta[number])[0])
        parts = [*sds, *partial_parts]
        if priors.sigma is not None:
            parts.append(variable(names.SIGMA, (priors.sigma,), None))
        if priors.rho is not None:
            shape = np.asarray(priors.rho)  # an array, as in `variable`
            r = 2.0 * pm.Beta(f"{names.RHO}_partial", shape, shape) - 1.0
            pm.Deterministic(names.RHO, marginal.rho(r))
            parts.append(r)
        at = 0
        for term in design.terms:
            width = len(term.labels)
            if marginal.kept[at]:
                dims = None
                if term.levels is not None:
                    dims = names.term_dim(term.name)
                    model.add_coord(dims, list(term.levels))
                parts.append(variable(term.name, priors.coefficients[at : at + width], dims))
            at += width
        theta = pt.concatenate([pt.atleast_1d(part) for part in parts])
        pm.Potential(f"{design.response}_marginal", MarginalDensity.of(theta, marginal))
    return model


def correlated(model: pm.Model, part: Part, eta: float, outcomes: tuple[str, int] | None = None) -> tuple[Any, Any]:
    """Partial correlations under LKJ(eta) and the Cholesky factor of the correlation matrix of a block.

    Parameters
    ----------
    model : pymc.Model
        The model on the stack.
    part : Part
    eta : float
    outcomes : (str, int), optional
        Dimension and number of the outcomes of the response, each with correlations of its own.

    Returns
    -------
    r : ([outcomes,] size (size - 1) / 2) variable
    C : ([outcomes,] size, size) variable
    """
    factor, size = part.factor.name, part.block.Z.shape[1]
    shapes = Layout((size,), (True,)).lkj_shapes((eta,))
    lead = () if outcomes is None else (outcomes[1],)
    r = 2.0 * pm.Beta(names.partial(factor, part.number), shapes, shapes, shape=(*lead, len(shapes))) - 1.0
    if outcomes is None:
        C = _correlation_factor(r, size)
    else:
        C = pt.stack([_correlation_factor(r[k], size) for k in range(outcomes[1])])
    dims = names.corr_dims(factor, part.number)
    for dim in dims:
        model.add_coord(dim, part.block.labels)
    # as a sum of products: a matrix product takes seconds to compile
    matrix = (C[..., :, None, :] * C[..., None, :, :]).sum(axis=-1)
    pm.Deterministic(names.corr(factor, part.number), matrix, dims=dims if outcomes is None else (outcomes[0], *dims))
    return r, C


def variable(
    name: str,
    priors: tuple[Prior, ...],
    dims: str | None,
    outcomes: str | None = None,
    start: np.ndarray | None = None,
) -> Any:
    """A PyMC variable from one prior a column, for all outcomes alike if the response has several."""
    distribution = getattr(pm, priors[0].name)
    if dims is None:
        # as arrays: PyTensor would keep bare numbers, and what it computes from them, in single precision
        args = {key: np.asarray(value) for key, value in priors[0].args.items()}
        return distribution(name, **args, dims=outcomes, initval=None if start is None else start[0])
    args = {key: np.array([p.args[key] for p in priors]) for key in priors[0].args}
    if outcomes is None:
        return distribution(name, **args, dims=dims, initval=start)
    return distribution(name, **{key: value[:, None] for key, value in args.items()}, dims=(dims, outcomes))


def _correlation_factor(partial: Any, size: int) -> Any:
    """Cholesky factor of a correlation matrix from partial correlations (see `hierbayes.covariance`)."""
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
    return pt.stack(rows)

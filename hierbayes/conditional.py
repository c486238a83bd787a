r"""The conditional PyMC graphs: every random effect is a variable of its own.

The model is that of `hierbayes.graph`, with nothing integrated out. For a block of effects with
Σ = L Lᵀ there are two ways to write the effects b_j of a level, and they differ only in the geometry
that NUTS sees: centred, or non-centred, ``b_j = L z_j`` with ``z_j ~ N(0, I)``. `hierbayes.parameterization` says
which is better when.

Centred means around the fixed effects of the same terms, ``β + b_j ~ N(β, Σ)``, where the formula has them and no
other block is centred around them (Gelfand, Sahu & Carlin 1995, Biometrika 82, 479-488). Data that say much about
the sum β + b_j, but not about its two parts, would tie an intercept to all the effects of ``b_j ~ N(0, Σ)``. The
intercept is then the one at the mean of those predictors that have no effect in the block: where they are zero, which
for a ``year`` is far from any data, it would be tied to their coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import xarray as xr

from hierbayes import names
from hierbayes.design import Design, Part, Term
from hierbayes.graph import correlated, variable
from hierbayes.initial import initial_coefficients, restricted
from hierbayes.parameterization import CENTERED, NONCENTERED
from hierbayes.priors import Prior, Priors

INTERCEPT_CENTERED = "Intercept_centered"
"""The intercept at the mean of the predictors, where its prior refers to that one."""
UNBOUNDED = {"Normal", "StudentT", "Flat", "Cauchy", "Laplace", "Logistic"}
"""Priors that allow every number."""


def build_conditional(
    design: Design, priors: Priors, choices: Sequence[str], respond: Callable[[Any], Any] | None = None
) -> pm.Model:
    """Build a PyMC model with the random effects in it.

    Parameters
    ----------
    design : Design
        Without a residual correlation.
    priors : Priors
    choices : sequence of {"centered", "noncentered"}
        One for each block of the design.
    respond : callable, optional
        Adds the response, and the further parameters of its family, to the model on the stack, given the linear
        predictor; needed if the family is not the Gaussian with identity link.

    Returns
    -------
    pymc.Model
        Variables under Bambi's names: the fixed effects, ``<term>|<factor>_sigma``, ``<factor>_corr``,
        ``sigma`` and the effects ``<term>|<factor>``. Internal ones beside them: the partial
        correlations ``<factor>_corr_partial`` as in `hierbayes.graph.build_graph`; for a non-centred
        block the standard normal ``<term>|<factor>_offset``; for a centred one ``<term>|<factor>_level``, the sum
        of a fixed and a random effect, or if it is correlated ``<factor>_corr_effects`` (J, q), which holds all of
        them; with centred predictors
        ``Intercept_centered``. `posterior_of` takes the internal ones out of the draws.

    Raises
    ------
    ValueError
        If there is not one known choice for each block, or if the residuals are correlated.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy"))
    >>> graph = build_conditional(model.design, model.priors, ["noncentered"])
    >>> [variable.name for variable in graph.free_RVs]
    ['Intercept_centered', 'Days', '1|Subject_sigma', '1|Subject_offset', 'sigma']
    >>> graph["1|Subject"].eval().shape
    (18,)
    """
    if design.residual is not None:
        raise ValueError("conditional parametrisations need independent residuals; use the marginal one")
    if len(choices) != len(design.blocks) or not set(choices) <= {CENTERED, NONCENTERED}:
        raise ValueError(
            f"choices must be {CENTERED!r} or {NONCENTERED!r} for each of the {len(design.blocks)} blocks of random "
            f"effects, not {list(choices)!r}"
        )
    with pm.Model(coords={names.OBSERVATIONS: np.arange(design.n)}) as model:
        if design.outcomes is not None:
            model.add_coord(*design.outcomes)
        mean, fixed = _fixed_effects(model, design, priors)
        if design.offset is not None:
            mean = mean + _data(design.offset if design.outcomes is None else design.offset[:, None])
        for part, eta, choice in zip(design.parts, priors.eta, choices, strict=True):
            around = fixed.around(part) if choice == CENTERED and design.outcomes is None else {}
            mean = mean + _random_effects(model, part, priors.sds[part.where], eta, choice, around, design.outcomes)
        if respond is None:
            sd = _residual_sd(design, priors)
            pm.Normal(design.response, mean, sd, observed=_data(design.y), dims=names.OBSERVATIONS)
        else:
            respond(mean)
    return model


def posterior_of(draws: xr.Dataset, design: Design) -> xr.Dataset:
    """Keep of the draws of a conditional graph what a marginal fit has.

    The result has the variables of `hierbayes.recover.parameters` and `hierbayes.recover.random_effects`
    with their names, dimensions, coordinates and order, so that `hierbayes.results.Fit` works on it
    unchanged. Offsets, partial correlations and other internal variables are left out.

    Parameters
    ----------
    draws : xarray.Dataset
        Posterior group of a run of `build_conditional`, by PyMC or nutpie.
    design : Design

    Returns
    -------
    xarray.Dataset

    Examples
    --------
    >>> import hierbayes as hb
    >>> import pymc as pm
    >>> model = hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy"))
    >>> with build_conditional(model.design, model.priors, ["centered"]):
    ...     draws = pm.sample_prior_predictive(5, random_seed=1)["prior"].to_dataset()
    >>> list(posterior_of(draws, model.design))
    ['Intercept', 'Days', '1|Subject_sigma', 'sigma', '1|Subject']
    """
    correlations = [names.corr(part.factor.name, part.number) for part in design.parts if part.free]
    variables: dict[str, tuple] = {}
    coords: dict[str, np.ndarray] = {name: np.arange(draws.sizes[name]) for name in (names.CHAIN, names.DRAW)}
    for name in kept_variables(design):
        if name not in draws:  # a parameter of the family that is known
            continue
        values = draws[name].to_numpy()
        if name in correlations:  # one exactly, not but for rounding
            values = np.where(np.eye(values.shape[-1], dtype=bool), 1.0, values)
        variables[name] = (draws[name].dims, values)
        coords |= {str(dim): draws[dim].to_numpy().astype(str) for dim in draws[name].dims if dim not in coords}
    return xr.Dataset(variables, coords)


def kept_variables(design: Design) -> list[str]:
    """Variables of the graph that a fit keeps, in their order; known parameters of the family among them."""
    wanted = [term.name for term in design.terms]
    for part in design.parts:
        wanted += [names.sd(term.name, part.factor.name) for term in part.block.terms]
        if part.free:
            wanted.append(names.corr(part.factor.name, part.number))
    wanted += design.family.auxiliary
    return wanted + [names.effect(term.name, part.factor.name) for part in design.parts for term in part.block.terms]


def _data(values: np.ndarray) -> Any:
    """Numbers that go to the compiled function as an argument; it would hold long constants in its code."""
    return pytensor.shared(np.ascontiguousarray(values), shape=values.shape)


def _dim(model: pm.Model, dim: str, levels: Sequence[str] | np.ndarray | None) -> str | None:
    """Register a dimension, if there is one."""
    if levels is None:
        return None
    model.add_coord(dim, list(levels))
    return dim


def _columns(terms: tuple[Term, ...]) -> Iterator[tuple[Term, slice]]:
    """Terms and the positions of their columns."""
    at = 0
    for term in terms:
        yield term, slice(at, at + len(term.labels))
        at += len(term.labels)


@dataclass
class _Fixed:
    """What blocks of random effects may be centred around.

    Parameters
    ----------
    coefficients : dict of (str, tuple or None) to variable
        Those of each term, by its name and levels, that no block is centred around yet.
    shifts : dict of (str, tuple or None) to variable
        What each term adds to the intercept at the mean of its columns.
    middle : variable or None
        The intercept at the mean of all predictors.
    """

    coefficients: dict[tuple, Any]
    shifts: dict[tuple, Any]
    middle: Any

    def around(self, part: Part) -> dict[str, Any]:
        """Location of each term of a block that has one, by its name."""
        keys = {term.name: (term.name, term.levels) for term in part.block.terms}
        found = {name: self.coefficients.pop(key) for name, key in keys.items() if key in self.coefficients}
        if "1" in keys and self.middle is not None:
            own = [self.shifts[key] for key in keys.values() if key in self.shifts]
            found["1"], self.middle = self.middle - sum(own), None
        return found


def _fixed_effects(model: pm.Model, design: Design, priors: Priors) -> tuple[Any, _Fixed]:
    """X β, (n,), and what effects may be centred around."""
    X = design.X
    centered = design.intercept if priors.centered else None
    outcomes = _outcome_dim(design.outcomes)
    means = X.mean(axis=0)
    if design.intercept is not None:
        means[design.intercept] = 0.0
    if centered is not None:
        X = X - means
    start = initial_coefficients(design, X) if restricted(design.family) else np.zeros(0)
    found: list[Any] = []
    coefficients: dict[tuple, Any] = {}
    shifts: dict[tuple, Any] = {}
    for term, where in _columns(design.terms):
        name = INTERCEPT_CENTERED if where.start == centered else term.name
        dims = _dim(model, names.term_dim(term.name), term.levels)
        own = priors.coefficients[where]
        free = len(start) > 0 and all(prior.name in UNBOUNDED for prior in own)
        drawn = variable(name, own, dims, outcomes, start[where] if free else None)
        found.append(drawn if dims is not None else drawn[None])
        if where.start != design.intercept:
            coefficients[term.name, term.levels] = drawn
            shifts[term.name, term.levels] = (_column(means[where], outcomes) * found[-1]).sum(axis=0)
    if not found:
        empty = design.n if design.outcomes is None else (design.n, len(design.outcomes[1]))
        return pt.zeros(empty), _Fixed({}, {}, None)
    beta = pt.concatenate(found)  # (p,) or (p, outcomes)
    middle = None
    if design.intercept is not None:
        middle, shift = beta[design.intercept], sum(shifts.values())
        if centered is None:
            middle = middle + shift
        else:
            pm.Deterministic(names.INTERCEPT, middle - shift, dims=outcomes)
    # a matrix product takes PyTensor several times longer to compile
    mean = (_data(X if outcomes is None else X[:, :, None]) * beta).sum(axis=1)
    return mean, _Fixed(coefficients, shifts, middle)


def _outcome_dim(outcomes: tuple[str, tuple[str, ...]] | None) -> str | None:
    return None if outcomes is None else outcomes[0]


def _column(values: np.ndarray, outcomes: str | None) -> np.ndarray:
    """One number a row, ready to be multiplied with one number, or one for each outcome, a row."""
    return values if outcomes is None else values[:, None]


def _residual_sd(design: Design, priors: Priors) -> Any:
    """Standard deviation of each residual: a scalar, or (n,) with weights."""
    if priors.sigma is None:
        sigma: Any = pt.as_tensor(np.asarray(design.sigma))
    else:
        sigma = variable(names.SIGMA, (priors.sigma,), None)
    return sigma if design.weights is None else sigma * _data(1.0 / np.sqrt(design.weights))


def _random_effects(
    model: pm.Model,
    part: Part,
    priors: tuple[Prior, ...],
    eta: float,
    choice: str,
    around: dict[str, Any],
    outcomes: tuple[str, tuple[str, ...]] | None,
) -> Any:
    """Z b of one block, (n,) or (n, outcomes)."""
    block, factor = part.block, part.factor
    dim = _outcome_dim(outcomes)
    _dim(model, names.levels_dim(factor.name), factor.levels.astype(str))
    sds = []
    for term, where in _columns(part.block.terms):
        dims = _dim(model, names.expr_dim(term.name), term.levels)
        sds.append(variable(names.sd(term.name, factor.name), priors[where], dims, dim))
    if not part.free:
        effects = _independent(part, sds, choice, around, dim)
    elif outcomes is None:
        effects = _correlated(model, part, sds, eta, choice, around)
    else:
        effects = _correlated_outcomes(model, part, sds, eta, outcomes)
    codes = _data(factor.codes)
    total: Any = 0.0
    for column, effect in zip(block.Z.T, effects, strict=True):
        of_rows = effect[codes] if dim is None else effect.T[codes]
        total = total + (of_rows if np.all(column == 1.0) else _data(_column(column, dim)) * of_rows)
    return total


def _effect_dims(term: Term, factor: str, outcomes: str | None = None) -> tuple[str, ...]:
    levels = names.levels_dim(factor)
    dims = (levels,) if term.levels is None else (names.expr_dim(term.name), levels)
    return dims if outcomes is None else (outcomes, *dims)


def _entries(term: Term, value: Any, axis: int = 0) -> list[Any]:
    """A variable of a term, one entry a column, which stand along an axis."""
    if term.levels is None:
        return [value]
    return [value[(slice(None),) * axis + (k,)] for k in range(len(term.labels))]


def _standard(term: Term, factor: str, outcomes: str | None = None) -> Any:
    """Standard normal variables behind the effects of a term, named as Bambi names them."""
    return pm.Normal(f"{names.effect(term.name, factor)}_offset", 0.0, 1.0, dims=_effect_dims(term, factor, outcomes))


def _independent(part: Part, sds: list[Any], choice: str, around: dict[str, Any], outcomes: str | None) -> list[Any]:
    """Effects of an uncorrelated block, (J,) or (outcomes, J) for each column."""
    factor = part.factor.name
    effects = []
    for term, sd in zip(part.block.terms, sds, strict=True):
        name, dims = names.effect(term.name, factor), _effect_dims(term, factor, outcomes)
        if term.levels is not None and outcomes is not None:
            sd = sd.T  # (columns, outcomes), and the effects are (outcomes, columns, levels)
        spread = sd if term.levels is None and outcomes is None else sd[..., None]
        if term.name in around:
            location = around[term.name] if term.levels is None else around[term.name][:, None]
            level = pm.Normal(f"{name}_level", location, spread, dims=dims)
            b = pm.Deterministic(name, level - location, dims=dims)
        elif choice == CENTERED:
            b = pm.Normal(name, 0.0, spread, dims=dims)
        else:
            b = pm.Deterministic(name, _standard(term, factor, outcomes) * spread, dims=dims)
        effects += _entries(term, b, 0 if outcomes is None else 1)
    return effects


def _correlated(
    model: pm.Model, part: Part, sds: list[Any], eta: float, choice: str, around: dict[str, Any]
) -> list[Any]:
    """Effects of a correlated block, (J,) for each column."""
    factor, terms = part.factor.name, part.block.terms
    _, C = correlated(model, part, eta)
    sd = [entry for term, of_term in zip(terms, sds, strict=True) for entry in _entries(term, of_term)]
    if choice == CENTERED:
        dims = (names.levels_dim(factor), names.corr_dims(factor, part.number)[0])
        L = pt.stack(sd)[:, None] * C
        zeros = {term.name: pt.zeros(len(term.labels)) if term.levels else pt.as_tensor(0.0) for term in terms}
        location = pt.stack([entry for term in terms for entry in _entries(term, (zeros | around)[term.name])])
        b = pm.MvNormal(f"{names.corr(factor, part.number)}_effects", location, chol=L, dims=dims)
        effects = [b[:, i] - location[i] for i in range(len(sd))]
    else:
        z = pt.stack([entry for term in terms for entry in _entries(term, _standard(term, factor))])
        scaled = (C[:, :, None] * z).sum(axis=1)  # C z, compiled faster
        effects = [of_column * scaled[i] for i, of_column in enumerate(sd)]
    for term, where in _columns(terms):
        value = effects[where.start] if term.levels is None else pt.stack(effects[where])
        pm.Deterministic(names.effect(term.name, factor), value, dims=_effect_dims(term, factor))
    return effects


def _correlated_outcomes(
    model: pm.Model, part: Part, sds: list[Any], eta: float, outcomes: tuple[str, tuple[str, ...]]
) -> list[Any]:
    """Effects of a correlated block, (outcomes, J) for each column, each outcome with correlations of its own."""
    factor, terms = part.factor.name, part.block.terms
    dim, labels = outcomes
    _, C = correlated(model, part, eta, (dim, len(labels)))  # (outcomes, size, size)
    sd = [entry for term, of_term in zip(terms, sds, strict=True) for entry in _entries(term, of_term)]
    z = pt.stack([entry for term in terms for entry in _entries(term, _standard(term, factor, dim), 1)], axis=1)
    scaled = (C[:, :, :, None] * z[:, None]).sum(axis=2)  # (outcomes, size, J)
    effects = [of_column[:, None] * scaled[:, i] for i, of_column in enumerate(sd)]
    for term, where in _columns(terms):
        value = effects[where.start] if term.levels is None else pt.stack(effects[where], axis=1)
        pm.Deterministic(names.effect(term.name, factor), value, dims=_effect_dims(term, factor, dim))
    return effects

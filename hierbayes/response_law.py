r"""The distribution of the response given linear predictor and further parameters, as functions of many draws.

It is the distribution that is sampled: Bambi's own code builds it, and PyMC knows its density, its mean and how to
draw from it. The graph of one draw is made once, a batch of draws is put in its place
(`pytensor.graph.replace.vectorize_graph`), and numpy evaluates it: to compile it would take longer than most of its
uses.

Means that PyMC does not know: those of categories are their probabilities, those of counts among trials their shares,
and a hurdle, ``y = 0`` with probability 1 - ψ and else ``y | y > 0``, has

    E y = ψ E(y) / P(y > 0),        the expectations being those of the distribution without the hurdle.

A response that is censored, truncated or weighted (functions of Bambi around it) has a density as it is observed; its
mean and its draws are those of the quantity itself. A constrained response is drawn within its bounds [l, u]; a
Normal one has the mean

    E y = μ + σ (φ(a) - φ(b)) / (Φ(b) - Φ(a)),        a = (l - μ)/σ, b = (u - μ)/σ.

The mean of an angle is its mean direction.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy import special, stats

from hierbayes import names
from hierbayes.errors import HierbayesError
from hierbayes.from_bambi.families import respond
from hierbayes.specification import Specification

BLOCK = 1_000_000
"""Numbers evaluated at a time."""
ROUNDS = 10_000
"""Of drawing again what lies outside its bounds."""
FAR = 1e6
"""Standard deviations to a bound, at most."""
SCIPY = {"poisson": "poisson", "negative_binomial": "nbinom"}
"""Distributions behind hurdles: their names, and scipy's with the same parameters."""

_of_rows_fitted: weakref.WeakKeyDictionary[Specification, ResponseLaw] = weakref.WeakKeyDictionary()


class ResponseLaw:
    """Density, mean and draws of the response, one row of numbers a draw.

    Parameters
    ----------
    specification : Specification
    data : (n,) or (n, columns) array, optional
        Response of other rows than those fitted, in Bambi's form: with two columns successes and trials, for
        instance. Of means nothing of it is used but its length, of draws the trials, totals or bounds.
    free : bool, default False
        Whether parameters that priors hold at a number are given all the same.

    Attributes
    ----------
    n : int
        Number of rows.
    columns : int or None
        Columns of the linear predictor, where it has several.
    categories : tuple of str or None
        Labels of the last axis of `mean`, where it has one.

    Examples
    --------
    >>> import hierbayes as hb, numpy as np
    >>> data = hb.load_data("sleepstudy").assign(slow=lambda rows: 1 * (rows["Reaction"] > 300))
    >>> law = ResponseLaw(hb.Model("slow ~ Days + (1 | Subject)", data, family="bernoulli").specification)
    >>> eta = np.array([[0.0] * 180, [1.0] * 180])
    >>> law.mean(eta, {})[:, 0].round(3)
    array([0.5  , 0.731])
    >>> law.log_density(eta, {}).shape, law.draw(eta, {}, seed=1).shape
    ((2, 180), (2, 180))
    """

    def __init__(self, specification: Specification, data: np.ndarray | None = None, free: bool = False) -> None:
        design = specification.design
        self.family = design.family
        self.columns = None if design.outcomes is None else len(design.outcomes[1])
        self.categories = design.categories
        own = np.asarray(specification.skeleton.response_term.data)
        observed = own if data is None else np.asarray(data)
        if self.categories is None and self.family.multinomial:
            self.categories = tuple(map(str, specification.skeleton.response_term.levels))
        self.n = len(observed)
        self._data = np.repeat(observed, 2, axis=0) if self.n == 1 else observed  # Bambi takes one row for a number
        held = {} if free else specification.priors.auxiliary
        self.auxiliary = tuple(
            name for name in self.family.auxiliary if free or not isinstance(held.get(name), (int, float))
        )
        self._held = held
        self._skeleton = specification.skeleton

    def log_density(self, eta: np.ndarray, auxiliary: Mapping[str, np.ndarray]) -> np.ndarray:
        """Log density of the response.

        Parameters
        ----------
        eta : (m, n) or (m, n, columns) array
            Linear predictor of each draw, offset included.
        auxiliary : mapping of str to (m,) or (m, k) array
            Further parameters; those that are held constant need not be there.

        Returns
        -------
        (m, n) array
        """
        return self._evaluate(self._log_density, eta, auxiliary)

    def mean(self, eta: np.ndarray, auxiliary: Mapping[str, np.ndarray]) -> np.ndarray:
        """Expected response.

        Parameters
        ----------
        eta, auxiliary
            As of `log_density`.

        Returns
        -------
        (m, n) or (m, n, categories) array
            Probabilities of categories; shares of the trials.

        Raises
        ------
        HierbayesError
            If PyMC does not know the mean, or not that within bounds.
        """
        if self.family.response != "constrained":
            return self._evaluate(self._mean, eta, auxiliary)
        if self.family.name != "gaussian":
            raise HierbayesError(
                f"No mean is known of a constrained response of family {self.family.name!r}; ask for "
                "kind='response', whose estimate is the mean of draws within the bounds, or for kind='linear'."
            )
        sigma = np.asarray(auxiliary.get("sigma", self._held.get("sigma")), dtype=float)
        return mean_within(self._evaluate(self._mean, eta, auxiliary), sigma.reshape(-1, 1), *self._data[0, 1:])

    def draw(self, eta: np.ndarray, auxiliary: Mapping[str, np.ndarray], seed: int | None = None) -> np.ndarray:
        """New responses, one for each draw and row.

        Parameters
        ----------
        eta, auxiliary
            As of `log_density`.
        seed : int, optional

        Returns
        -------
        (m, n) array, or (m, n, categories) of counts
        """
        seeds = np.random.SeedSequence(seed)
        graphs: dict[int, Callable[..., np.ndarray]] = {}

        def drawn(*values: np.ndarray) -> np.ndarray:
            m = len(values[0])
            if m not in graphs:  # all blocks but the last have one length
                graphs[m] = self._drawing(m)
            return graphs[m](seeds.spawn(1)[0], *values)

        return self._evaluate(drawn, eta, auxiliary)

    def _evaluate(
        self, function: Callable[..., np.ndarray], eta: np.ndarray, auxiliary: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Values of all draws, a block of draws at a time."""
        eta = np.asarray(eta, dtype=float)
        others = [np.asarray(auxiliary[name], dtype=float) for name in self.auxiliary]
        if self.n == 1:
            eta = np.repeat(eta, 2, axis=1)
        step = max(1, BLOCK // max(1, eta[0].size))
        blocks = [slice(start, start + step) for start in range(0, len(eta), step)]
        found = [np.asarray(function(eta[block], *(values[block] for values in others))) for block in blocks]
        return np.concatenate(found)[:, : self.n]

    def _build(self, data: np.ndarray, plain: bool, by_row: bool = False) -> tuple[Any, Any, list[Any]]:
        """The response, its value, and what it is given: linear predictor and parameters (one a row, or one)."""
        import pymc as pm
        import pytensor

        n = len(data)
        shapes: list[tuple[int, ...]] = [(n,) if self.columns is None else (n, self.columns)]
        for name in self.auxiliary:  # thresholds are the only vector: one fewer than there are categories
            own = (len(self.categories or ()) - 1,) if name == "threshold" else ()
            shapes.append((n, *own) if by_row else own)
        given = [pytensor.shared(np.zeros(shape), shape=shape) for shape in shapes]
        with pm.Model(coords={names.OBSERVATIONS: np.arange(len(data))}) as model:
            values = dict(zip(self.auxiliary, given[1:], strict=True))
            rv = respond(self._skeleton, given[0], values, data, plain)
        return rv, model.rvs_to_values[rv], given

    @cached_property
    def _log_density(self) -> Any:
        import pymc as pm

        rv, value, given = self._build(self._data, plain=False)
        return _batched(pm.logp(rv, value), given)

    @cached_property
    def _mean(self) -> Any:
        data = self._plain
        if self.family.with_trials:
            data = np.column_stack([np.zeros(len(data)), np.ones(len(data))])
        rv, _, given = self._build(data, plain=True)
        return _batched(_expectation(rv), given)

    def _drawing(self, m: int) -> Callable[..., np.ndarray]:
        """Draws of m responses to all rows, as if each were a response to rows of its own."""
        constrained = self.family.response == "constrained"
        data = self._data if constrained else self._plain
        rv, _, given = self._build(np.concatenate([data] * m), not constrained, by_row=True)
        outputs, finish = _drawable(rv)
        function = _compiled([], outputs)
        sources = [source for source in function.get_shared() if hasattr(source.get_value(), "bit_generator")]

        def drawn(seed: np.random.SeedSequence, eta: np.ndarray, *others: np.ndarray) -> np.ndarray:
            given[0].set_value(eta.reshape(-1, *eta.shape[2:]))
            for variable, values in zip(given[1:], others, strict=True):
                variable.set_value(np.repeat(values, len(data), axis=0))

            def once() -> list[np.ndarray]:
                for source in sources:
                    source.set_value(np.random.default_rng(seed.spawn(1)[0]))
                return list(function())

            return finish(once, np.random.default_rng(seed.spawn(1)[0])).reshape(m, len(data), *rv.type.shape[1:])

        return drawn

    @property
    def _plain(self) -> np.ndarray:
        """The response itself, without what says how it was observed."""
        return self._data if self.family.response == "plain" else self._data[:, 0]


def mean_within(mu: np.ndarray, sigma: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Mean of a Normal variable that is known to lie between bounds.

    Parameters
    ----------
    mu, sigma : arrays
        Of the variable without bounds; their shapes must fit.
    lower, upper : float
        May be infinite.

    Returns
    -------
    array

    Examples
    --------
    >>> mean_within(np.array([0.0, -30.0]), np.array([1.0, 1.0]), 0.0, np.inf).round(6)
    array([0.797885, 0.03326 ])
    """
    a, b = np.clip((np.array([lower, upper]).reshape(2, *(1 for _ in mu.shape)) - mu) / sigma, -FAR, FAR)
    sign = np.where(a + b < 0.0, -1.0, 1.0)  # the end that is nearer to the middle first, so that nothing cancels
    a, b = np.where(sign < 0.0, -b, a), np.where(sign < 0.0, -a, b)
    above, beyond = special.log_ndtr(-a), special.log_ndtr(-b)
    with np.errstate(under="ignore"):
        density = -0.5 * a**2 - 0.5 * np.log(2.0 * np.pi)
        rises = -np.expm1(0.5 * (a - b) * (a + b)), -np.expm1(beyond - above)
        shift = np.exp(density - above) * np.divide(*rises, out=np.zeros_like(a), where=rises[1] > 0.0)
    return np.clip(mu + sign * sigma * shift, lower, upper)


def law_of(specification: Specification) -> ResponseLaw:
    """The law of the rows that were fitted, made once."""
    if specification not in _of_rows_fitted:
        _of_rows_fitted[specification] = ResponseLaw(specification)
    return _of_rows_fitted[specification]


def _batched(output: Any, given: list[Any]) -> Any:
    """A function of a batch of draws."""
    import pytensor.tensor as pt
    from pytensor.graph.replace import vectorize_graph

    batch = [pt.tensor(shape=(None, *variable.type.shape), dtype=variable.type.dtype) for variable in given]
    return _compiled(batch, vectorize_graph(output, dict(zip(given, batch, strict=True))))


def _compiled(inputs: list[Any], output: Any) -> Any:
    """A function that numpy evaluates."""
    import pytensor
    from pytensor.compile.mode import OPT_FAST_RUN, Mode

    left_out = ("fusion", "inplace", "BlasOpt", "constant_folding")  # the last one compiles what it folds
    mode = Mode(linker="py", optimizer=OPT_FAST_RUN.excluding(*left_out))
    return pytensor.function(inputs, output, mode=mode, on_unused_input="ignore")


def _drawable(rv: Any) -> tuple[list[Any], Callable[..., np.ndarray]]:
    """What to draw or to compute for a new response, and how it becomes one.

    PyMC draws from a truncated distribution whose quantiles it does not know by rejection, and keeps every round. For
    the counts behind a hurdle scipy knows the quantiles; elsewhere the rounds are made here.
    """
    from pymc.distributions.mixture import _HurdleRV
    from pymc.distributions.truncated import TruncatedRV

    op, inputs = rv.owner.op, rv.owner.inputs
    if isinstance(op, TruncatedRV):
        *own, lower, upper = inputs
        return [op.base_rv_op.make_node(*own).default_output(), lower, upper], _rejection
    if isinstance(op, _HurdleRV) and isinstance(inputs[-1].owner.op, TruncatedRV):
        _, _, *parameters, _, _ = inputs[-1].owner.inputs  # random numbers, size; bounds
        law = getattr(stats, SCIPY[inputs[-1].owner.op.base_rv_op.name])
        return [inputs[1][..., 1], *parameters], partial(_above_hurdle, law)
    return [rv], lambda once, rng: once()[0]


def _rejection(once: Callable[[], list[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """Draws within bounds."""
    drawn, lower, upper = once()
    for _ in range(ROUNDS):
        outside = (drawn < lower) | (drawn > upper)
        if not outside.any():
            return drawn
        drawn = np.where(outside, once()[0], drawn)
    raise HierbayesError("The bounds of the response leave hardly any probability, so that nothing can be drawn.")


def _above_hurdle(law: Any, once: Callable[[], list[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """Counts that are zero with probability 1 - ψ, and else positive."""
    psi, *parameters = once()
    below = law.cdf(0, *parameters)
    positive = law.ppf(below + (1.0 - below) * rng.random(psi.shape), *parameters)
    return np.where(rng.random(psi.shape) < psi, np.maximum(positive, 1.0), 0.0)


def _expectation(rv: Any) -> Any:
    """Expectation of a variable; of categories, their probabilities."""
    import pytensor.tensor as pt
    from pymc import logcdf
    from pymc.distributions.mixture import _BaseMixtureRV
    from pymc.distributions.moments.means import mean
    from pymc.distributions.multivariate import DirichletMultinomialRV
    from pymc.distributions.truncated import TruncatedRV
    from pymc.exceptions import UndefinedMomentException
    from pytensor.tensor.random.basic import CategoricalRV, MultinomialRV

    op, inputs = rv.owner.op, rv.owner.inputs
    if isinstance(op, (CategoricalRV, MultinomialRV)):
        return inputs[-1]
    if isinstance(op, DirichletMultinomialRV):
        return inputs[-1] / inputs[-1].sum(axis=-1, keepdims=True)
    if isinstance(op, _BaseMixtureRV):
        _, weights, *components = inputs
        return sum(weights[..., k] * _expectation(component) for k, component in enumerate(components))
    if isinstance(op, TruncatedRV):  # behind a hurdle: nothing is lost but the zeros
        whole = op.base_rv_op.make_node(*inputs[:-2]).default_output()
        return mean(whole) / (1.0 - pt.exp(logcdf(whole, 0)))
    try:
        return mean(rv)
    except (NotImplementedError, UndefinedMomentException):
        raise HierbayesError(
            "PyMC knows no mean of this response; ask for kind='linear' or kind='response'."
        ) from None

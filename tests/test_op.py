"""The likelihood as a PyTensor Op, and the compiled log posterior against the PyMC graph of the same model."""

from __future__ import annotations

import bambi as bmb
import numpy as np
import pandas as pd
import pytensor
import pytensor.tensor as pt
import pytest
from oracle import ALL, assert_gradient, differences, some_theta

import hierbayes as hb
from hierbayes.marginal import Marginal
from hierbayes.op import MarginalDensity
from hierbayes.reml import maximise
from hierbayes.sampling import PARTIAL, log_posterior, make_target, start

EQUAL = 1e-11
"""Relative, between the two ways of adding the same log densities; PyMC's own single-precision log 2 costs 2e-9."""
SLOPES = 1e-9
"""Relative to the largest component of the gradient."""
LAST_BITS = 1e-13
"""Relative: the compiler may add the same terms in another order when it inlines the kernel."""

PYTHON = "FAST_COMPILE"
"""Evaluates a graph without compiling it."""


# --- the Op -----------------------------------------------------------------------------------------


KINDS = {
    "one factor": "slope, unbalanced",
    "several factors": "two crossed, slopes",
    "correlated residuals": "AR(1) with gaps and slopes",
    "several factors and correlated residuals": "AR(1) and a nested pair",
    "known σ": "crossed, known σ",
}
"""Each has an Op of its own: what a model does not have is never compiled."""


@pytest.fixture(scope="module", params=KINDS)
def marginal(request):
    return Marginal(ALL[KINDS[request.param]])


@pytest.fixture(scope="module")
def theta(marginal):
    return some_theta(marginal.design)


@pytest.fixture(scope="module")
def graph(marginal):
    vector = pt.dvector()
    value = MarginalDensity.of(vector, marginal)
    gradient = value.owner.outputs[1]
    return vector, value, gradient, pytensor.grad(3.0 * value, vector)


def test_the_op_returns_value_and_gradient(graph, marginal, theta):
    vector, value, gradient, _ = graph
    found, slope = pytensor.function([vector], [value, gradient], mode=PYTHON)(theta)
    expected, expected_slope = marginal.log_density(theta)
    assert found == pytest.approx(expected, rel=LAST_BITS)
    assert found.shape == ()
    np.testing.assert_allclose(slope, expected_slope, rtol=LAST_BITS, atol=LAST_BITS * np.abs(expected_slope).max())


def test_compiled_and_interpreted_agree(graph, theta):
    vector, value, gradient, grad = graph
    outputs = [value, gradient, grad]
    for a, b in zip(
        pytensor.function([vector], outputs, mode=PYTHON)(theta),
        pytensor.function([vector], outputs, mode="NUMBA")(theta),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=LAST_BITS, atol=LAST_BITS * np.abs(a).max())
        assert a.dtype == b.dtype == np.float64


def test_pytensor_differentiates_through_the_op(graph, marginal, theta):
    vector, _, _, grad = graph
    found = pytensor.function([vector], grad, mode=PYTHON)(theta)
    expected = 3.0 * marginal.log_density(theta)[1]
    np.testing.assert_allclose(found, expected, rtol=LAST_BITS, atol=LAST_BITS * np.abs(expected).max())
    assert_gradient(found, differences(lambda x: 3.0 * marginal.log_density(x)[0], theta))


def test_the_gradient_is_not_differentiated_silently(graph):
    """There are no second derivatives: asking for them is an error, not zero."""
    vector, _, gradient, grad = graph
    for output in (gradient.sum(), grad.sum()):
        with pytest.raises(pytensor.gradient.DisconnectedInputError):
            pytensor.grad(output, vector)


def test_different_ops_for_different_models():
    """Compiled code is cached by what a model has, so that two kinds must not share a key."""
    kinds = [(tree, residual) for tree in (False, True) for residual in (False, True)]
    ops = [MarginalDensity(*kind) for kind in kinds]
    assert len(set(ops)) == 4
    assert MarginalDensity(True, False) == ops[2]


# --- log posterior --------------------------------------------------------------------------------------


def half(name, **args):
    return bmb.Prior("Normal", mu=0, sigma=bmb.Prior(name, **args))


STUDENT = bmb.Prior("StudentT", nu=4, mu=5, sigma=12)

MODELS = {
    "intercept": ("Reaction ~ Days + (1 | Subject)", {}),
    "correlated": ("Reaction ~ Days + (Days | Subject)", {}),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", {}),
    "two blocks": ("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", {}),
    "categorical slopes": ("Reaction ~ phase + (phase | Subject)", {"Subject_corr": bmb.Prior("LKJ", eta=3)}),
    "categorical slopes, uncorrelated": ("Reaction ~ phase + (phase || Subject)", {}),
    "two correlated blocks": (
        "Reaction ~ Days + (Days | Subject) + (0 + np.sin(Days) + np.cos(Days) | Subject)",
        {"Subject_corr": bmb.Prior("LKJ", eta=2), "Subject_corr2": bmb.Prior("LKJ", eta=4)},
    ),
    "LKJ": ("Reaction ~ Days + (Days | Subject)", {"Subject_corr": bmb.Prior("LKJ", eta=2)}),
    "kept slope": ("Reaction ~ Days + (Days | Subject)", {"Days": STUDENT}),
    "kept positive slope": ("Reaction ~ Days + (Days | Subject)", {"Days": bmb.Prior("HalfNormal", sigma=20)}),
    "kept intercept": ("Reaction ~ Days + (1 | Subject)", {"Intercept": bmb.Prior("Cauchy", alpha=250, beta=50)}),
    "kept categories": ("Reaction ~ phase + Days + (1 | Subject)", {"phase": bmb.Prior("Laplace", mu=0, b=30)}),
    "flat": ("Reaction ~ Days + (1 | Subject)", {"common": bmb.Prior("Flat")}),
    "exponential and gamma": (
        "Reaction ~ Days + (Days | Subject)",
        {"1|Subject": half("Exponential", lam=0.05), "Days|Subject": half("Gamma", alpha=2, beta=0.1)},
    ),
    "cauchy and inverse gamma": (
        "Reaction ~ Days + (Days || Subject)",
        {
            "1|Subject": half("HalfCauchy", beta=25),
            "Days|Subject": half("InverseGamma", alpha=2, beta=5),
            "sigma": bmb.Prior("LogNormal", mu=3, sigma=1),
        },
    ),
    "crossed": ("Reaction ~ Days + (1 | Subject) + (1 | Days)", {}),
    "crossed slopes": (
        "Reaction ~ Days + (Days | Subject) + (phase | site)",
        {"Subject_corr": bmb.Prior("LKJ", eta=2), "site_corr": bmb.Prior("LKJ", eta=3)},
    ),
    "nested": ("Reaction ~ Days + (Days | site/Subject)", {"site_corr": bmb.Prior("LKJ", eta=3)}),
    "nested within crossed": ("Reaction ~ Days + (1 | site/Subject) + (0 + Days | phase)", {"Days": STUDENT}),
    "a factor in several blocks, crossed": (
        "Reaction ~ Days + (1 | Subject) + (1 | site) + (0 + Days | Subject)",
        {"1|site": half("Exponential", lam=0.05)},
    ),
    "weights": ("Reaction ~ Days + (Days | Subject)", {}, {"weights": "count"}),
    "offset": ("Reaction ~ Days + offset(shift) + (1 | Subject)", {}),
    "known errors": ("Reaction ~ Days + (Days | Subject)", {"Days": STUDENT}, {"se": "error"}),
    "crossed, known errors": ("Reaction ~ 1 + (1 | Subject) + (1 | phase)", {}, {"se": "error"}),
    "AR(1)": ("Reaction ~ Days + (1 | Subject)", {}, {"residual": "ar1(Days | Subject)"}),
    "AR(1) with a prior": (
        "Reaction ~ Days + (Days | Subject)",
        {"rho": bmb.Prior("LKJ", eta=3), "Days": STUDENT},
        {"residual": "ar1(Days | Subject)"},
    ),
    "AR(1) without random effects": ("Reaction ~ Days", {}, {"residual": "ar1(1 | Subject)"}),
    "AR(1), nested": ("Reaction ~ Days + (1 | site/Subject)", {}, {"residual": "ar1(Days | Subject)"}),
    "compound symmetry": ("Reaction ~ Days", {"rho": bmb.Prior("LKJ", eta=2)}, {"residual": "cs(Subject)"}),
    "compound symmetry, known errors": (
        "Reaction ~ Days + (0 + Days | Subject)",
        {},
        {"se": "error", "residual": "cs(Subject)"},
    ),
}


@pytest.fixture(scope="module")
def data(sleepstudy):
    phase = pd.cut(sleepstudy["Days"], [-1, 2, 6, 9], labels=["early", "middle", "late"]).astype(str)
    rng = np.random.default_rng(3)
    return sleepstudy.assign(
        phase=phase,
        site=sleepstudy["Subject"].astype(int) % 4,
        count=rng.integers(1, 6, len(sleepstudy)),
        shift=rng.normal(0.0, 30.0, len(sleepstudy)),
        error=rng.uniform(20.0, 40.0, len(sleepstudy)),
    )


def make(data, name):
    formula, priors, *more = MODELS[name]
    model = hb.Model(formula, data, priors=priors, **(more[0] if more else {}))
    return model, make_target(model.marginal, model.priors)


def positions(target, model, count=4):
    """Random unconstrained points around the REML estimate."""
    centre = start(target, maximise(model.likelihood))
    rng = np.random.default_rng(0)
    return [centre + 0.5 * rng.standard_normal(len(centre)) for _ in range(count)]


def in_graph_order(graph, model):
    """Value variables of the graph in the order of θ: sds, partial correlations, σ, r, kept coefficients."""
    free = [variable.name for variable in graph.free_RVs]
    sds = [name for name in free if name.endswith("_sigma")]
    partial = [name for name in free if name.endswith(("_corr_partial", "_corr2_partial"))]
    kept = [term.name for term in model.design.terms if term.name in free]
    order = [*sds, *partial, *(name for name in ("sigma", "rho_partial") if name in free), *kept]
    assert sorted(order) == sorted(free)
    assert ("sigma" in free) == (model.design.sigma is None)
    assert ("rho_partial" in free) == (model.design.residual is not None)
    return [graph[name] for name in order]


def point(variables, graph, x):
    """A PyMC point from an unconstrained vector."""
    initial = graph.initial_point()
    at, made = 0, {}
    for variable in variables:
        name = graph.rvs_to_values[variable].name
        made[name] = x[at : at + initial[name].size].reshape(initial[name].shape)
        at += initial[name].size
    assert at == len(x)
    return made


@pytest.mark.parametrize("name", MODELS)
def test_log_posterior_is_the_density_of_the_graph(data, name):
    model, target = make(data, name)
    assert target.table is not None
    graph = model.graph()
    variables = in_graph_order(graph, model)
    logp = graph.compile_fn(graph.logp(sum=True, jacobian=True), mode=PYTHON)
    dlogp = graph.compile_fn(graph.dlogp(vars=variables), mode=PYTHON)
    for x in positions(target, model):
        value, gradient = target.log_posterior(x)
        here = point(variables, graph, x)
        np.testing.assert_allclose(value, float(logp(here)), rtol=EQUAL)
        expected = dlogp(here)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=SLOPES * np.abs(expected).max())


@pytest.mark.parametrize(
    "name",
    [
        "correlated", "categorical slopes", "kept positive slope", "two correlated blocks", "crossed slopes",
        "nested",
        "known errors", "AR(1) with a prior", "AR(1), nested", "compound symmetry",
    ],
)  # fmt: skip
def test_the_gradient_of_the_log_posterior(data, name):
    model, target = make(data, name)
    for x in positions(target, model):
        assert_gradient(target.log_posterior(x)[1], differences(lambda x: target.log_posterior(x)[0], x))


@pytest.mark.parametrize("name", MODELS)
def test_constrain_undoes_unconstrain(data, name):
    model, target = make(data, name)
    for x in positions(target, model):
        theta = target.constrain(x)
        assert len(theta) == model.marginal.dim
        np.testing.assert_allclose(target.unconstrain(theta), x, rtol=EQUAL, atol=EQUAL)
    np.testing.assert_array_equal(target.constrain(np.stack([x, x]))[1], theta)


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_computes_the_correlations(data, name):
    """Of the effects of each correlated block, and of the residuals."""
    model, target = make(data, name)
    graph = model.graph()
    variables = in_graph_order(graph, model)
    places = {
        f"{part.factor.name}_corr{part.number + 1 if part.number else ''}": part.where
        for part in model.design.parts
        if part.free
    }
    names = [*places, *(["rho"] if model.design.residual is not None else [])]
    assert [variable.name for variable in graph.deterministics] == names
    if not names:
        return
    outputs = graph.replace_rvs_by_values([graph[name] for name in names])
    correlations = graph.compile_fn(outputs, inputs=graph.value_vars, mode=PYTHON, on_unused_input="ignore")
    x = positions(target, model, 1)[0]
    given = model.marginal.condition(target.constrain(x)[None], np.random.default_rng(0))
    covariance = given.L[0] @ given.L[0].T
    found = dict(zip(names, correlations(point(variables, graph, x)), strict=True))
    for label, where in places.items():
        sd = np.sqrt(np.diag(covariance[where, where]))
        np.testing.assert_allclose(found[label], covariance[where, where] / np.outer(sd, sd), rtol=EQUAL, atol=EQUAL)
    if "rho" in names:
        low, high = model.design.residual.bounds
        assert low < found["rho"] < high
        assert float(found["rho"]) == pytest.approx(given.rho[0], rel=EQUAL)


def test_dimensions_of_the_graph_name_the_columns(data):
    model, _ = make(data, "categorical slopes")
    coords = model.graph().coords
    assert coords["phase__expr_dim"] == ("late", "middle")
    assert coords["Subject_corr_dim"] == ("Intercept", "phase[late]", "phase[middle]")
    kept, _ = make(data, "kept categories")
    assert kept.graph().coords["phase_dim"] == ("late", "middle")


@pytest.mark.parametrize("far", [-1e4, -750.0, -40.0, 40.0, 750.0, 1e4])
@pytest.mark.parametrize(
    "name",
    [
        "kept slope",
        "crossed slopes",
        "nested within crossed",
        "AR(1) with a prior",
        "AR(1), nested",
        "compound symmetry",
    ],
)
def test_wild_proposals_are_refused_without_an_error(data, name, far):
    """A leapfrog step may land anywhere: the density is then -inf or very low, never NaN or an exception."""
    model, target = make(data, name)
    x = positions(target, model, 1)[0]
    here = target.log_posterior(x)[0]
    for i in range(len(x)):
        moved = x.copy()
        moved[i] = far
        value, gradient = target.log_posterior(moved)
        assert value < here
        assert value == -np.inf or np.isfinite(gradient).all()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_correlations_near_one_keep_their_prior(data, sign):
    """The sum log u + log(1 - u) keeps its digits near u = 0 and 1: under LKJ(1) it falls like -|x|."""
    model, target = make(data, "correlated")
    x = positions(target, model, 1)[0]
    values = []
    for far in (30.0, 36.0):
        x[target.kinds == PARTIAL] = sign * far
        values.append(log_posterior(x, target.table, model.marginal.packed, *model.marginal.plan)[0])
    np.testing.assert_allclose(values[0] - values[1], 6.0, atol=1e-6)  # the likelihood hardly moves


def test_other_priors_need_the_graph(data):
    model = hb.Model("Reaction ~ Days + (1 | Subject)", data, priors={"sigma": bmb.Prior("Gamma", mu=30, sigma=10)})
    target = make_target(model.marginal, model.priors)
    assert target.table is None
    with pytest.raises(TypeError, match="only the PyMC graph"):
        target.log_posterior(np.zeros(3))

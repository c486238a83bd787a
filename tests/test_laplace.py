"""Maximum likelihood of generalised linear mixed models against lme4, quadrature, a dense oracle and differences."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats

import hierbayes as hb
from hierbayes import kernel_family as family
from hierbayes.laplace import Laplace
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.laplace_maximum import _Search, maximise_laplace

LME4 = 2e-6
"""lme4 stops where the deviance is flat to 1e-10: its estimates are good to about 1e-6."""
LOGLIK = 2e-8
"""Its modes of the random effects are good to about 1e-8."""
LME4_ERRORS = 2e-5
"""Relative; lme4 takes second differences of the deviance."""
EXACT = 1e-9
"""Two ways to the same number, both to rounding."""


def rows() -> pd.DataFrame:
    """Data that R makes by the same rule, see LME4_CODE."""
    i = np.arange(240)
    g, h, s = i % 20, (7 * i) % 12, i % 5
    data = pd.DataFrame(
        {
            "g": [f"g{each:02d}" for each in g],
            "h": [f"h{each:02d}" for each in h],
            "s": [f"s{each}" for each in s],
            "x": np.sin(1.7 * i),
            "log_e": np.log(1.0 + i % 4),
            "trials": 3 + i % 5,
        }
    )
    eta = 0.3 + 0.5 * data["x"] + 0.8 * np.sin(2.1 * g) + 0.5 * np.cos(1.3 * h) + 0.5 * np.cos(3.7 * g) * data["x"]
    odds = np.exp(eta - 0.5 + 1.5 * np.cos(2 * s) + np.sin(53 * i))
    data["count"] = np.floor(np.exp(eta + 0.6 * np.sin(37 * i)) + 0.5).astype(int)
    data["many"] = np.floor(np.exp(eta + 1.2 * np.sin(37 * i)) + 0.5).astype(int)
    data["success"] = (0.5 * data["x"] + 2 * np.sin(91 * i) > 0.4).astype(int)
    data["hits"] = np.floor((data["trials"] + 0.999) * odds / (1 + odds)).astype(int)
    data["time"] = np.exp(0.4 * eta + 0.7 * np.sin(53 * i))
    data["share"] = 1 / (1 + np.exp(-0.6 * eta - 0.7 * np.sin(53 * i)))
    data["real"] = eta + np.sin(53 * i) ** 3
    data["heavy"] = eta + 0.3 * np.tan(1.5 * np.sin(53 * i))
    data["rank"] = pd.cut(eta + 1.5 * np.sin(53 * i), [-9, -0.5, 0.5, 1.2, 9], labels=["a", "b", "c", "d"])
    return data


LME4_CODE = """
library(lme4)
i <- 0:239; k <- i %% 20; l <- (7 * i) %% 12; s <- i %% 5
d <- data.frame(g = sprintf("g%02d", k), h = sprintf("h%02d", l), s = sprintf("s%d", s),
                x = sin(1.7 * i), e = 1 + i %% 4)
eta <- 0.3 + 0.5 * d$x + 0.8 * sin(2.1 * k) + 0.5 * cos(1.3 * l) + 0.5 * cos(3.7 * k) * d$x
d$count <- floor(exp(eta + 0.6 * sin(37 * i)) + 0.5)
d$many <- floor(exp(eta + 1.2 * sin(37 * i)) + 0.5)
d$success <- ifelse(0.5 * d$x + 2 * sin(91 * i) > 0.4, 1, 0)
d$trials <- 3 + i %% 5
d$hits <- floor((d$trials + 0.999) / (1 + exp(-(eta - 0.5 + 1.5 * cos(2 * s) + sin(53 * i)))))
tight <- glmerControl(optimizer = "bobyqa", optCtrl = list(rhobeg = 0.02, rhoend = 1e-10, maxfun = 1e5),
                      tolPwrss = 1e-13)
f <- glmer(cbind(hits, trials - hits) ~ x + (1 | s/h), d, binomial, control = tight)
c(logLik(f), fixef(f), sqrt(diag(vcov(f))), as.data.frame(VarCorr(f))$sdcor, fitted(f)[1:2])
ranef(f, condVar = TRUE)
"""
"""lme4 1.1-31; the other models likewise, with nAGQ as in `FITS`."""


class Lme4:
    """Formula, arguments, and lme4's figures; log likelihoods by quadrature lack a constant there."""

    def __init__(self, formula, arguments, nagq, loglik, fixef, se, sdcor, fitted, first=()):
        self.formula, self.arguments, self.nagq, self.loglik = formula, arguments, nagq, loglik
        self.fixef, self.se, self.sdcor, self.fitted, self.first = fixef, se, sdcor, fitted, first


FITS = {
    "crossed, slope": Lme4(
        "count ~ x + (x | g) + (1 | h)", {"family": "poisson"}, 1, -382.594467687,
        [0.472404050, 0.553842817], [0.168645232, 0.100983081],
        [0.592934094, 0.263105393, 0.291638102, -0.410218512], [2.621956393, 2.208598953],
        (("g", [0.139827008, 0.265758796], [0.234495947, 0.195341238]), ("h", [0.351689695], [0.170660888])),
    ),
    "offset": Lme4(
        "count ~ x + offset(log_e) + (1 | g)", {"family": "poisson"}, 1, -396.199756599,
        [-0.292066749, 0.510338024], [0.190110664, 0.065594404], [0.812437932], [2.280619190, 2.943401425],
        (("g", [1.116513730], [0.180118853]),),
    ),
    "uncorrelated": Lme4(
        "p(hits, trials) ~ x + (x || g)", {"family": "binomial"}, 1, -334.663505763,
        [0.094878645, 0.619026031], [0.342834395, 0.127007460], [1.489937867, 0.284294181],
        [0.823926646, 0.493388358],
        (("g", [1.448302164, 0.078214880], [0.421402829, 0.260672178]),),
    ),
    "nested": Lme4(
        "p(hits, trials) ~ x + (1 | s/h)", {"family": "binomial"}, 1, -313.446829609,
        [0.154076329, 0.634789773], [0.638186972, 0.105045636], [1.375630239, 1.130390674],
        [0.935174290, 0.334210692],
        (("s", [1.477906800], [0.392966918]),),
    ),
    "probit, quadrature": Lme4(
        "p(hits, trials) ~ x + (1 | g)", {"family": "binomial", "link": "probit"}, 25, None,
        [0.055963456, 0.352988735], [0.199383839, 0.058540914], [0.868603980], [0.823437470, 0.539136357],
    ),
    "cloglog, quadrature": Lme4(
        "p(hits, trials) ~ x + (1 | g)", {"family": "binomial", "link": "cloglog"}, 25, None,
        [-0.436528278, 0.391932957], [0.234341084, 0.064782780], [1.018860159], [0.833135408, 0.515531143],
    ),
    "seven nodes": Lme4(
        "count ~ x + (1 | g)", {"family": "poisson"}, 7, None,
        [0.524938956, 0.510671574], [0.146553413, 0.065594372], [0.606073045], [2.342897481, 2.959075580],
        (("g", [0.326449447], [0.174518034]),),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return rows()


@pytest.mark.parametrize("case", FITS.values(), ids=FITS)
def test_lme4(data, case):
    fit = hb.Model(case.formula, data, **case.arguments).ml(case.nagq)
    assert fit.converged
    assert not fit.singular
    assert fit.nagq == case.nagq
    if case.loglik is not None:
        assert_allclose(fit.loglik, case.loglik, rtol=1e-9)
    assert_allclose(fit.fixef, case.fixef, rtol=0, atol=LME4)
    assert_allclose(np.sqrt(np.diag(fit.vcov)), case.se, rtol=LME4_ERRORS)
    assert_allclose(fit.varcorr["sdcor"], case.sdcor, rtol=0, atol=LME4)
    assert_allclose(fit.fitted[:2], case.fitted, rtol=0, atol=2 * LME4)
    for name, modes, sds in case.first:
        assert_allclose(fit.ranef[name].iloc[0], modes, rtol=0, atol=LME4)
        assert_allclose(fit.ranef_sd[name].iloc[0], sds, rtol=0, atol=LME4)


def test_cbpp_laplace(shared):
    reference = json.loads(shared("reference/lme4.json").read_text())["glmm"]["cbpp_laplace"]
    fit = cbpp().ml()
    assert_allclose(fit.loglik, reference["logLik"], rtol=0, atol=LOGLIK)
    assert_allclose(fit.criterion, reference["criterion"], rtol=0, atol=2 * LOGLIK)
    assert_allclose([fit.aic, fit.bic], [reference["AIC"], reference["BIC"]], rtol=0, atol=2 * LOGLIK)
    assert (fit.n_par, fit.nobs, fit.ngroups) == (reference["n_par"], reference["nobs"], reference["ngroups"])
    _compare(fit, reference)
    assert_allclose(fit.vcov.to_numpy(), reference["vcov"]["values"], rtol=0, atol=LME4)


def test_cbpp_quadrature(shared):
    reference = json.loads(shared("reference/lme4.json").read_text())["glmm"]["cbpp_agq25"]
    model = cbpp()
    fit = model.ml(nagq=25)
    _compare(fit, reference)
    # lme4's log likelihood lacks that of the saturated model
    y, trials = model.design.y, model.design.trials
    saturated = stats.binom.logpmf(y, trials, y / trials).sum()
    assert_allclose(fit.loglik - saturated, reference["logLik"], rtol=0, atol=LOGLIK)


def _compare(fit, reference):
    assert_allclose(fit.fixef, list(reference["fixef"].values()), rtol=0, atol=LME4)
    assert_allclose(np.sqrt(np.diag(fit.vcov)), list(reference["se"].values()), rtol=0, atol=LME4)
    assert_allclose(fit.varcorr["sdcor"], reference["varcorr"][0]["sdcor"], rtol=0, atol=LME4)
    assert_allclose(fit.fitted[:5], reference["fitted_first5"], rtol=0, atol=LME4)
    for level in reference["ranef_first10"]["herd"]:
        assert_allclose(fit.ranef["herd"].loc[level["level"], "Intercept"], level["blup"], rtol=0, atol=LME4)
        assert_allclose(fit.ranef_sd["herd"].loc[level["level"], "Intercept"], level["condsd"], rtol=0, atol=LME4)


def cbpp() -> hb.Model:
    data = hb.load_data("cbpp").astype({"period": str, "herd": str})
    return hb.Model("p(incidence, size) ~ period + (1 | herd)", data, family="binomial")


def test_negative_binomial_by_quadrature_is_lme4s_with_the_same_alpha(data):
    """lme4: glmer(many ~ x + (1 | g), d, MASS::negative.binomial(theta = 2.217333594347), nAGQ = 25)."""
    fit = hb.Model("many ~ x + (1 | g)", data, family="negativebinomial").ml(nagq=25)
    assert_allclose(fit.residual_values["alpha"], 2.217333594347, rtol=1e-6)
    assert_allclose(fit.fixef, NB_FIXEF, rtol=0, atol=LME4)
    assert_allclose(fit.varcorr["sdcor"], NB_SD, rtol=0, atol=LME4)


NB_FIXEF, NB_SD = [0.774819396, 0.531437860], [0.573648494]


GAUSSIAN = {
    "slopes": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin"),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "Pastes"),
}


@pytest.mark.parametrize(("formula", "name"), GAUSSIAN.values(), ids=GAUSSIAN)
def test_gaussian_is_exact(formula, name):
    model = hb.Model(formula, hb.load_data(name))
    _same(model, model.ml())


def test_gaussian_with_weights_and_offset_is_exact(data):
    more = data.assign(w=1.0 + (np.arange(240) % 3))
    model = hb.Model("real ~ x + offset(log_e) + (1 | g)", more, weights="w")
    _same(model, model.ml())


def test_known_standard_errors_are_exact(data):
    more = data.assign(se=0.2 + 0.1 * (np.arange(240) % 3))
    model = hb.Model("real ~ x + (1 | g)", more, se="se")
    _same(model, model.ml())


def _same(model, exact):
    likelihood = Laplace(model.design)
    found = LaplaceEstimate(likelihood, maximise_laplace(likelihood))
    assert_allclose(found.criterion, exact.criterion, rtol=1e-12)
    assert_allclose(found.fixef, exact.fixef, rtol=1e-8)
    assert_allclose(found.varcorr["vcov"], exact.varcorr["vcov"], rtol=1e-7)
    assert_allclose(found.wald.errors, exact.wald.errors, rtol=1e-6)
    assert found.n_par == exact.n_par
    for name in exact.ranef:
        assert_allclose(found.ranef[name], exact.ranef[name], rtol=0, atol=1e-8)
        assert_allclose(found.ranef_sd[name], exact.ranef_sd[name], rtol=1e-7)


FAMILIES = {
    "bernoulli": "success", "binomial": "p(hits, trials)", "poisson": "count", "negativebinomial": "many",
    "gamma": "time", "exponential": "time", "beta": "share", "t": "heavy", "cumulative": "rank",
}  # fmt: skip
LINKS = {
    "bernoulli": ["logit", "probit", "cloglog"], "gamma": ["log", "inverse"], "cumulative": ["logit", "probit"],
    "gaussian": ["log"],
}  # fmt: skip
PAIRS = [(name, link) for name in FAMILIES for link in LINKS.get(name, [None])] + [("gaussian", "log")]


def design_of(data, name, link, random, n=None):
    response = FAMILIES.get(name, "time")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Bambi's, on the name of the levels of an ordinal response
        model = hb.Model(f"{response} ~ x + {random}", data.iloc[:n], family=name, link=link)
    return model.design


def point(likelihood):
    """Parameters away from any optimum."""
    x = likelihood.guess()
    entries = slice(likelihood.p, likelihood.dim - likelihood.k)
    small = 0.3 if likelihood.link == family.INVERSE else 1.0
    x[entries] = small * np.where(likelihood.rows == likelihood.columns, 0.5, -0.2)
    return x + 0.05 * small * np.cos(np.arange(likelihood.dim))


def slope(function, x, h=1e-5):
    return np.array([(function(x + step) - function(x - step)) / (2 * h) for step in h * np.eye(len(x))])


@pytest.mark.parametrize("random", ["(x | g)", "(x || g) + (1 | h)", "(1 | s/h)"])
@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_gradient_of_laplace(data, name, link, random):
    likelihood = Laplace(design_of(data, name, link, random))
    x = point(likelihood)
    value, gradient = likelihood.log_likelihood(x)
    assert np.isfinite(value)
    differences = slope(lambda at: likelihood.log_likelihood(at)[0], x)
    assert_allclose(gradient, differences, rtol=1e-6, atol=1e-6 * max(1.0, abs(value)))


@pytest.mark.parametrize("nagq", [4, 9])
@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_gradient_of_quadrature(data, name, link, nagq):
    likelihood = Laplace(design_of(data, name, link, "(0 + x | g)"), nagq)
    x = point(likelihood)
    value, gradient = likelihood.log_likelihood(x)
    differences = slope(lambda at: likelihood.log_likelihood(at)[0], x)
    assert_allclose(gradient, differences, rtol=1e-6, atol=1e-6 * max(1.0, abs(value)))


def test_gradient_of_quadrature_without_variance(data):
    likelihood = Laplace(design_of(data, "poisson", None, "(1 | g)"), 5)
    x = point(likelihood)
    x[likelihood.p] = 0.0
    assert_allclose(likelihood.log_likelihood(x)[1], slope(lambda at: likelihood.log_likelihood(at)[0], x), atol=1e-5)


@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_quadrature_is_the_integral(data, name, link):
    """Four levels, the density of each integrated over its effect by adaptive quadrature."""
    design = design_of(data, name, link, "(1 | s)", 20)
    likelihood = Laplace(design, 60)
    x = point(likelihood)
    gamma, L, auxiliary = likelihood.split(x)
    fixed = likelihood.X @ gamma
    sd = abs(float(L[0, 0] * likelihood.effects.Z[0, 0]))
    r = likelihood.response
    total = 0.0
    for level in range(5):
        own = design.factors[0].codes == level

        def density(b, own=own):
            parts = [
                family_density(r.kind, r.link, r.y[i], r.size[i], fixed[i] + b, auxiliary)
                for i in np.flatnonzero(own)
            ]
            return np.exp(sum(parts)) * stats.norm.pdf(b, scale=sd)

        low = -0.9 * fixed[own].min() if likelihood.link == family.INVERSE else -9 * sd
        found, _ = integrate.quad(density, max(-9 * sd, low), 9 * sd, epsabs=0, epsrel=1e-11, limit=400)
        total += np.log(found)
    assert_allclose(likelihood.log_likelihood(x)[0], total, rtol=1e-7)


def family_density(kind, link, y, size, eta, auxiliary):
    out = np.empty(4)
    family.derivatives(kind, link, y, size, eta, auxiliary, out)
    return out[0] + family.constants(kind, np.array([y]), np.array([size]))[0]


def dense(likelihood, x):
    """Laplace's formula with matrices of rows x effects, no structure used."""
    design = likelihood.design
    gamma, L, auxiliary = likelihood.split(x)
    fixed = likelihood.X @ gamma + likelihood.offset
    columns = []
    for factor in design.factors:
        own = design.effects_of(factor)
        ZL = likelihood.effects.Z[:, own] @ L[own, own]
        columns += [ZL * (factor.codes == level)[:, None] for level in range(len(factor.levels))]
    A = np.concatenate(columns, axis=1)
    u = np.zeros(A.shape[1])
    for _ in range(100):
        value, out = likelihood.response.log_densities(fixed + A @ u, auxiliary)
        W = np.eye(len(u)) - (A.T * out[:, 2]) @ A
        u = u + np.linalg.solve(W, A.T @ out[:, 1] - u)
    return value - 0.5 * u @ u - 0.5 * np.linalg.slogdet(W)[1] + likelihood.constant


@pytest.mark.parametrize("random", ["(x | g)", "(x | g) + (x || h)", "(1 | s/h)", "(1 | s) + (x | h) + (1 | g)"])
@pytest.mark.parametrize("name", ["binomial", "poisson", "gamma"])
def test_laplace_is_the_dense_formula(data, name, random):
    likelihood = Laplace(design_of(data, name, "log" if name == "gamma" else None, random))
    x = point(likelihood)
    assert_allclose(likelihood.log_likelihood(x)[0], dense(likelihood, x), rtol=1e-11)


@pytest.mark.parametrize("name", ["bernoulli", "beta", "gamma"])
def test_one_node_is_laplace(data, name):
    """The limit of the quadrature's formula, by the other kernel."""
    from hierbayes.kernel_hermite import hermite

    likelihood = Laplace(design_of(data, name, None, "(1 | g)"))
    x = point(likelihood)
    value, gradient = likelihood.log_likelihood(x)
    gamma, L, auxiliary = likelihood.split(x)
    fixed = likelihood.X @ gamma
    u, eta = likelihood.effects.mode(likelihood.response, fixed, L, auxiliary, np.zeros(20))
    _, out = likelihood.response.log_densities(eta, auxiliary, likelihood.k)
    r, one = likelihood.response, np.zeros(1)
    column, level_of = likelihood.effects.Z[:, 0], likelihood.effects.where[0]
    found = hermite(r.kind, r.link, r.y, r.size, fixed, auxiliary, column, L[0, 0], level_of, one, one, u, out)
    assert_allclose(found[0] + likelihood.constant, value, rtol=1e-12)
    assert_allclose(likelihood.X.T @ found[1], gradient[: likelihood.p], rtol=0, atol=EXACT * abs(value))
    assert_allclose(found[2], gradient[likelihood.p], rtol=0, atol=EXACT * abs(value))


def test_without_variance_rows_are_independent(data):
    likelihood = Laplace(design_of(data, "poisson", None, "(1 | g)"))
    x = likelihood.guess()
    mean = np.exp(likelihood.X @ x[: likelihood.p])
    assert_allclose(
        likelihood.log_likelihood(x)[0], stats.poisson.logpmf(likelihood.response.y, mean).sum(), rtol=1e-12
    )


def test_bernoulli_is_binomial_of_one_trial(data):
    more = data.assign(one=1)
    bernoulli = hb.Model("hits > 3 ~ x + (1 | s)".replace("hits > 3", "many_hits"), _split(more), family="bernoulli")
    binomial = hb.Model("p(many_hits, one) ~ x + (1 | s)", _split(more), family="binomial")
    assert_allclose(bernoulli.ml().criterion, binomial.ml().criterion, rtol=1e-12)


def _split(data):
    return data.assign(many_hits=(data["hits"] > 3).astype(int))


def test_two_categories_are_bernoulli(data):
    more = _split(data).assign(two=lambda rows: pd.Categorical(rows["many_hits"].map({0: "no", 1: "yes"})))
    bernoulli = hb.Model("many_hits ~ x + (1 | s)", more, family="bernoulli").ml()
    ordinal = hb.Model("two ~ x + (1 | s)", more, family="cumulative").ml()
    assert_allclose(ordinal.criterion, bernoulli.criterion, rtol=1e-12)
    assert_allclose(ordinal.fixef["x"], bernoulli.fixef["x"], rtol=1e-6)
    assert_allclose(ordinal.residual_values["threshold[0]"], -bernoulli.fixef["Intercept"], rtol=1e-6)
    assert_allclose(ordinal.fitted[:, 1], bernoulli.fitted, rtol=1e-6)
    assert_allclose(ordinal.fitted.sum(axis=1), 1.0, rtol=1e-12)


def test_thresholds_do_not_depend_on_the_origin_of_predictors(data):
    near = hb.Model("rank ~ x + (1 | g)", data, family="cumulative").ml()
    far = hb.Model("rank ~ z + (1 | g)", data.assign(z=2000.0 + data["x"]), family="cumulative").ml()
    assert far.converged
    assert_allclose(far.criterion, near.criterion, rtol=1e-11)
    assert_allclose(far.fixef["z"], near.fixef["x"], rtol=1e-6)
    thresholds = [np.array(list(fit.residual_values.values())) for fit in (near, far)]
    assert_allclose(thresholds[1] - 2000.0 * far.fixef["z"], thresholds[0], atol=1e-5)


@pytest.mark.parametrize("name", ["binomial", "gamma", "beta", "t", "negativebinomial", "cumulative"])
def test_estimates_are_maxima(data, name):
    design = design_of(data, name, None, "(1 | g)")
    likelihood = Laplace(design)
    optimum = maximise_laplace(likelihood)
    assert optimum.converged
    assert not optimum.singular
    assert optimum.gradient < 1e-5 * max(1.0, abs(optimum.deviance))
    best = likelihood.log_likelihood(optimum.x)[0]
    errors = np.sqrt(np.diag(optimum.covariance))
    for step in np.eye(likelihood.dim) * errors:
        for sign in (-1.0, 1.0):
            loss = best - likelihood.log_likelihood(optimum.x + 0.2 * sign * step)[0]
            assert 0.0 < loss < 0.2  # at most about half the square of the step for each correlated direction


def test_order_of_rows_and_units_of_predictors(data):
    formula, other = "count ~ x + (x | g) + (1 | h)", "count ~ z + (z | g) + (1 | h)"
    one = hb.Model(formula, data, family="poisson").ml()
    shuffled = data.sample(frac=1.0, random_state=3).assign(z=lambda rows: 1000.0 * rows["x"])
    two = hb.Model(other, shuffled, family="poisson").ml()
    assert_allclose(two.criterion, one.criterion, rtol=1e-11)
    assert_allclose(two.fixef * [1.0, 1000.0], one.fixef, rtol=1e-6)
    assert_allclose(two.varcorr["sdcor"] * [1.0, 1000.0, 1.0, 1.0], one.varcorr["sdcor"], rtol=1e-5)


def test_singular(data):
    """lme4: logLik -162.422862405, isSingular."""
    model = hb.Model("success ~ x + (1 | g)", data, family="bernoulli")
    with pytest.warns(hb.SingularFit, match="'g' has no variance"):
        fit = model.ml()
    assert fit.singular
    assert fit.converged
    assert_allclose(fit.loglik, -162.422862405, rtol=1e-10)
    assert_allclose(fit.fixef, [-0.272711700, 0.351025728], rtol=0, atol=LME4)
    assert_allclose(np.sqrt(np.diag(fit.vcov)), [0.131321496, 0.186466905], rtol=LME4_ERRORS)
    assert fit.varcorr["sdcor"].tolist() == [0.0]
    assert (fit.ranef["g"] == 0.0).all(axis=None)
    assert np.isnan(fit.tidy().query("effect == 'ran_pars'")["std_error"]).all()
    assert "singular" in repr(fit)


@pytest.mark.filterwarnings("ignore::hierbayes.errors.SingularFit")
@pytest.mark.parametrize(("left", "family"), [("success", "bernoulli"), ("rank", "cumulative")])
def test_what_is_not_on_the_boundary_keeps_its_standard_error(data, left, family):
    """With a factor of no variance the likelihood is that of the model without the factor."""
    more = data.assign(k=[f"k{each}" for each in np.arange(240) // 60])
    whole = hb.Model(f"{left} ~ x + (1 | h) + (1 | k)", more, family=family).ml()
    part = hb.Model(f"{left} ~ x + (1 | h)", more, family=family).ml()
    table = whole.tidy().set_index(["group", "term"])
    assert table.loc[("k", "sd(Intercept)"), "estimate"] == 0.0
    assert np.isnan(table.loc[("k", "sd(Intercept)"), ["std_error", "conf_low", "conf_high"]].astype(float)).all()
    shared = table.drop(("k", "sd(Intercept)"))[["std_error", "conf_low", "conf_high"]]
    expected = part.tidy().set_index(["group", "term"])[["std_error", "conf_low", "conf_high"]]
    assert np.isfinite(shared.loc[shared.index.get_level_values(0) == "Residual"]).all(axis=None)
    assert_allclose(shared, expected, rtol=1e-4)


@pytest.mark.parametrize("nagq", [1, 5])
def test_separation_is_named(data, nagq):
    more = data.assign(z=(np.arange(240) % 4 == 0) * 1.0)
    more.loc[more["z"] == 1.0, "success"] = 1
    with pytest.warns(hb.ConvergenceWarning, match="separate along 'z'"):
        fit = hb.Model("success ~ x + z + (1 | g)", more, family="bernoulli").ml(nagq)
    assert not fit.converged


def test_counts_that_are_all_zero_are_named(data):
    more = data.assign(kind=np.where(np.arange(240) % 5 == 0, "never", "some"))
    more.loc[more["kind"] == "never", "count"] = 0
    with pytest.warns(hb.ConvergenceWarning, match="separate along 'kind"):
        hb.Model("count ~ x + kind + (1 | g)", more, family="poisson").ml()


def test_a_parameter_without_estimate_is_named(data):
    """Residuals with lighter tails than any t distribution's: ν grows without end."""
    more = data.assign(
        even=lambda rows: rows["x"] + np.repeat(np.linspace(-1, 1, 12), 20) + np.sin(np.arange(240) % 20)
    )
    with pytest.warns(hb.ConvergenceWarning, match="'nu' has no finite estimate"):
        hb.Model("even ~ x + (1 | g)", more, family="t").ml()


@pytest.mark.parametrize(("left", "family"), [("rank", "cumulative"), ("count", "negativebinomial")])
def test_parameters_beyond_the_largest_number_have_no_density(data, left, family):
    likelihood = Laplace(hb.Model(f"{left} ~ x + (1 | g)", data, family=family).design)
    x = likelihood.guess()
    x[-1] = 800.0
    assert likelihood.log_likelihood(x)[0] == -np.inf


def test_a_search_that_meets_no_curvature_ends(data):
    """Differences of gradients at the end of what doubles can hold."""
    search = _Search(Laplace(hb.Model("count ~ x + (1 | g)", data, family="poisson").design))
    search.hessian = lambda x: np.full((len(x), len(x)), np.nan)
    x = search.likelihood.guess()
    found = search.polish(x, *search.value(x))
    assert_allclose(found[0], x)


def test_without_fixed_effects(data):
    fit = hb.Model("count ~ 0 + (1 | g)", data, family="poisson").ml()
    other = hb.Model(
        "count ~ 0 + zero_but_one + (1 | g)", data.assign(zero_but_one=1.0 * (np.arange(240) == 0)), family="poisson"
    )
    assert fit.converged
    assert fit.tidy()["term"].tolist() == ["sd(Intercept)"]
    assert fit.criterion > other.ml().criterion
    ordinal = hb.Model("rank ~ 1 + (1 | g)", data, family="cumulative").ml()
    assert ordinal.tidy()["term"].tolist() == ["sd(Intercept)", "threshold[0]", "threshold[1]", "threshold[2]"]


def test_what_belongs_to_a_posterior_is_said(data):
    fit = hb.Model("count ~ x + (1 | g)", data, family="poisson").ml()
    with pytest.raises(AttributeError, match=r"convergence belongs to a posterior: model.fit\(\).convergence"):
        _ = fit.convergence


def test_refusals(data):
    binomial = hb.Model("p(hits, trials) ~ x + (x | g)", data, family="binomial")
    with pytest.raises(hb.HierbayesError, match="nagq=5 integrates over one random effect"):
        binomial.ml(nagq=5)
    with pytest.raises(ValueError, match="whole number from 1 to 100"):
        binomial.ml(nagq=0)
    with pytest.raises(ValueError, match="is exact"):
        hb.Model("real ~ x + (1 | g)", data).ml(nagq=5)
    with pytest.raises(hb.HierbayesError, match="does not know weibull"):
        hb.Model("time ~ x + (1 | g)", data, family="weibull").ml()
    with pytest.raises(hb.HierbayesError, match="use ml"):
        binomial.reml()
    with pytest.raises(hb.DataError, match="combination"):
        hb.Model("count ~ x + w + (1 | g)", data.assign(w=2.0 * data["x"]), family="poisson").ml()


def test_many_crossed_effects_are_refused(monkeypatch, data):
    from hierbayes import laplace_mode

    monkeypatch.setattr(laplace_mode, "LARGEST_CORE", 11)
    with pytest.raises(hb.HierbayesError, match="leave 12 random effects that have to be eliminated together"):
        hb.Model("count ~ x + (1 | g) + (1 | h)", data, family="poisson").ml()


def test_tables(data):
    fit = hb.Model("many ~ x + (x | g)", data, family="negativebinomial").ml()
    tidy = fit.tidy()
    assert tidy["term"].tolist() == ["Intercept", "x", "sd(Intercept)", "sd(x)", "corr(Intercept, x)", "alpha"]
    assert tidy["group"].tolist()[2:] == ["g", "g", "g", "Residual"]
    assert list(tidy.columns) == list(hb.Model("real ~ x + (1 | g)", data).reml().tidy().columns)
    fixed = tidy.iloc[:2]
    assert np.isinf(fixed["df"]).all()
    z = fixed["estimate"] / fixed["std_error"]
    assert_allclose(fixed["p_value"], 2 * stats.norm.sf(abs(z)), rtol=1e-10)
    assert_allclose(fixed["conf_high"] - fixed["estimate"], 1.959963984540054 * fixed["std_error"], rtol=1e-10)
    own = tidy.iloc[[2, 3, 5]]
    assert (own["conf_low"] > 0).all()
    assert tidy["conf_high"][4] < 1
    ratio = np.log(own["conf_high"] / own["estimate"]) / np.log(own["estimate"] / own["conf_low"])
    assert_allclose(ratio, 1.0, rtol=1e-8)
    assert fit.tidy(0.5)["conf_high"][5] < tidy["conf_high"][5]
    assert_allclose(
        fit.contrast({"x": 2.0}).iloc[0][["estimate", "std_error"]].tolist(),
        [2 * fixed["estimate"][1], 2 * fixed["std_error"][1]],
    )
    assert_allclose(fit.joint_test(["x"])["F"], z.iloc[1] ** 2)
    assert_allclose(fit.anova()["p_value"], fixed["p_value"][1])
    assert fit.specification is not None
    assert repr(fit).splitlines()[0].endswith("negativebinomial(log), by Laplace approximation")
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit.tidy(1.5)


def test_fitted_is_the_mean_of_the_response(data):
    model = hb.Model("count ~ x + offset(log_e) + (1 | g)", data, family="poisson")
    fit = model.ml()
    eta = fit.fixef["Intercept"] + fit.fixef["x"] * data["x"] + data["log_e"]
    eta += fit.ranef["g"].loc[data["g"], "Intercept"].to_numpy()
    assert_allclose(fit.linear_predictor, eta, rtol=1e-12)
    assert_allclose(fit.fitted, np.exp(eta), rtol=1e-12)

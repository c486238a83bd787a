"""A fit that is asked for what the other kind has says where it is."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings

import numpy as np
import pytest

import hierbayes as hb
from hierbayes.results.elsewhere import refuse


@pytest.mark.parametrize("name", ["confint", "anova", "influence", "residuals_table", "contrast", "profile"])
def test_a_posterior_points_to_its_reml_fit(fit_sleepstudy, name):
    assert not hasattr(fit_sleepstudy, name)
    with pytest.raises(AttributeError, match=rf"; {name} belongs to the REML fit: fit\.reml\.{name}\(\)$"):
        getattr(fit_sleepstudy, name)
    assert callable(getattr(fit_sleepstudy.reml, name))


@pytest.mark.parametrize("name", ["loo", "shrinkage", "predictive_check", "evidence"])
def test_a_reml_fit_points_to_the_posterior(fit_sleepstudy, name):
    reml = fit_sleepstudy.reml
    assert not hasattr(reml, name)
    with pytest.raises(AttributeError, match=rf"; {name} belongs to a posterior: model\.fit\(\)\.{name}\(\)$"):
        getattr(reml, name)
    assert callable(getattr(fit_sleepstudy, name))


def test_attributes_are_named_without_parentheses(fit_sleepstudy):
    with pytest.raises(AttributeError, match=r"fit\.reml\.fixef$"):
        _ = fit_sleepstudy.fixef
    with pytest.raises(AttributeError, match=r"model\.fit\(\)\.idata$"):
        _ = fit_sleepstudy.reml.idata


def test_a_maximum_of_another_family_says_what_is_for_gaussian_responses(cbpp_ml):
    from hierbayes import FamilyFit, Fit, LaplaceFit, RemlFit

    own, gaussian = set(dir(LaplaceFit)), set(dir(RemlFit)) | set(dir(Fit))
    for name in sorted(name for name in gaussian - own if not name.startswith("_")):
        where = "belongs to a posterior" if hasattr(FamilyFit, name) else "needs a Gaussian response"
        with pytest.raises(AttributeError, match=where):
            getattr(cbpp_ml, name)
    with pytest.raises(hb.HierbayesError, match=r"lrt needs a Gaussian response.*aic and bic"):
        hb.lrt(cbpp_ml, cbpp_ml)
    posterior = FamilyFit.__new__(FamilyFit)  # nothing of it is asked
    for name in sorted(name for name in gaussian - set(dir(FamilyFit)) if not name.startswith("_")):
        where = r"model\.ml\(\)" if hasattr(LaplaceFit, name) else "needs a Gaussian response"
        with pytest.raises(AttributeError, match=where):
            getattr(posterior, name)


@pytest.fixture(scope="module")
def cbpp_ml():
    data = hb.load_data("cbpp").astype({"period": str})
    return hb.Model("p(incidence, size) ~ period + (1 | herd)", data, family="binomial").ml()


def test_what_neither_has_is_refused_as_ever(fit_sleepstudy):
    for fit in (fit_sleepstudy, fit_sleepstudy.reml):
        with pytest.raises(AttributeError, match=r"object has no attribute 'nonsense'$"):
            _ = fit.nonsense
        with pytest.raises(AttributeError, match=r"object has no attribute '_inference_'$"):
            _ = fit._inference_


def test_fits_can_still_be_copied_and_pickled(fit_sleepstudy):
    reml = fit_sleepstudy.reml
    assert copy.copy(fit_sleepstudy).design is fit_sleepstudy.design
    for again in (copy.deepcopy(reml), pickle.loads(pickle.dumps(reml))):
        assert again.fixef.equals(reml.fixef)


def test_a_property_that_fails_keeps_its_own_error():
    class Broken:
        @property
        def design(self):
            raise AttributeError("of its own")

        def __getattr__(self, name):
            return refuse(self, name, {dict: "elsewhere: {call}"})

    with pytest.raises(AttributeError, match=r"^of its own$"):
        _ = Broken().design


def test_comparisons_say_what_they_want(fit_sleepstudy, sleepstudy):
    with pytest.raises(ValueError, match=r"give a dict: hb\.compare"):
        hb.compare([fit_sleepstudy, fit_sleepstudy])
    with pytest.raises(TypeError, match=r"not a Fit; use fit\.reml\.$"):
        hb.lrt(fit_sleepstudy, fit_sleepstudy)
    larger = fit_sleepstudy.reml
    smaller = hb.Model("Reaction ~ Days + (1 | Subject)", sleepstudy).reml()
    with pytest.raises(hb.FormulaError, match="give the smaller model first"):
        hb.lrt(larger, smaller)


@pytest.mark.parametrize(
    "slope", ["scale(Days)", "within(Days, Subject)", "np.log(Days + 1)", "I(Days**2)", "0 + late"]
)
def test_models_with_functions_in_slopes_can_be_copied_and_pickled(sleepstudy, slope):
    data = sleepstudy.assign(late=np.where(sleepstudy["Days"] > 4, "late", "early"))
    Days = threading.Lock()  # a value of the caller's that has the name of a column and cannot be pickled
    assert Days.acquire()
    model = hb.Model(f"Reaction ~ Days + ({slope} | Subject)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hb.SingularFit)
        reml = model.reml()
        rows = reml.predict(data.head(12)).to_numpy()
        for again in (pickle.loads(pickle.dumps(reml)), copy.deepcopy(model).reml()):
            np.testing.assert_array_equal(again.predict(data.head(12)).to_numpy(), rows)

"""What to cite: which works a result rests on, and whether the entries are well-formed."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

import hierbayes as hb
from hierbayes.citations.reference import Reference
from hierbayes.citations.references import REFERENCES, SOFTWARE_USED

DATACITE = re.compile(r"10\.\d{4,9}/\S+")


def keys(*results):
    return set(hb.cite(*results).references["key"])


def test_without_results_it_is_the_software():
    assert list(hb.cite().references["key"]) == list(SOFTWARE_USED)
    assert f"version {hb.__version__}" in hb.cite().text


def test_a_reml_fit_rests_on_reml_and_its_degrees_of_freedom():
    reml = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).reml()
    assert keys(reml) == {"hierbayes", "bambi", "reml", "lme4", "satterthwaite", "data_sleepstudy"}
    reml.tidy(df="kenward-roger")
    assert "kenward_roger" in keys(reml)
    assert "satterthwaite" not in keys(reml)
    assert "reml" not in keys(hb.Model("Reaction ~ Days + (1 | Subject)", hb.load_data("sleepstudy")).ml())


@pytest.mark.parametrize(("nagq", "key", "other"), [(1, "laplace", "quadrature"), (9, "quadrature", "laplace")])
def test_other_families_rest_on_their_approximation(nagq, key, other):
    model = hb.Model("p(incidence, size) ~ period + (1 | herd)", hb.load_data("cbpp"), family="binomial")
    found = keys(model.ml(nagq=nagq))
    assert key in found
    assert not {other, "reml", "satterthwaite"} & found


def test_correlated_residuals_rest_on_nlme():
    data = pd.DataFrame({"y": [1.0, 2, 1, 3, 2, 4, 1, 3], "t": [0, 1, 2, 3] * 2, "g": list("aaaabbbb")})
    model = hb.Model("y ~ 1", data, residual="ar1(t | g)")
    assert keys(model) == {"hierbayes", "bambi", "nlme"}


def test_a_posterior_and_what_is_asked_of_it(fit_sleepstudy):
    fit = fit_sleepstudy
    sampler = {"pymc", "arviz", "nutpie", "nuts", "rhat", "marginalized", "lkj"}
    assert sampler <= keys(fit)
    assert "loo" not in keys(fit)
    assert {"loo", "psis", "integrated_loo"} <= keys(fit.loo())
    assert "marginal_loo" not in keys(fit.loo())
    assert "marginal_loo" in keys(fit.logo())
    with pytest.warns(hb.ParetoWarning):
        assert "integrated_loo" not in keys(fit.loo(conditional=True))
    assert {"r2", "bayesian_r2"} <= keys(fit.r2())
    assert "bayesian_r2" not in keys(fit.reml.r2())
    assert "r2" in keys(fit.icc())
    assert "prior_sensitivity" in keys(fit.check())
    assert {"elpd_difference", "stacking"} <= keys(hb.compare({"a": fit, "b": fit.loo(refine=False)}))


def test_a_likelihood_ratio_test_rests_on_its_boundary():
    data = hb.load_data("sleepstudy")
    table = hb.lrt(*(hb.Model(f"Reaction ~ Days + ({x} | Subject)", data) for x in ("1", "Days")))
    assert keys([table], {"more": table}) == {"hierbayes", "boundary", "variance_test"}


@pytest.mark.parametrize("other", ["sleepstudy", 3, pd.DataFrame({"a": [1]})])
def test_anything_else_is_refused(other):
    with pytest.raises(TypeError, match="cite knows models, fits"):
        hb.cite(other)


def test_a_data_set_is_cited_only_if_it_is_that_one():
    data = hb.load_data("Dyestuff")
    formula = "Yield ~ 1 + (1 | Batch)"
    assert "data_Dyestuff" in keys(hb.Model(formula, data))
    assert "data_Dyestuff" not in keys(hb.Model(formula, data.assign(Yield=data["Yield"] + 1)))


@pytest.mark.parametrize("key", REFERENCES)
def test_every_entry_is_complete_and_its_bibtex_well_formed(key):
    entry = REFERENCES[key]
    assert entry.key == key
    assert entry.year is not None
    assert 1940 < entry.year <= 2026
    assert entry.cited_for
    assert not entry.doi or DATACITE.fullmatch(entry.doi)
    assert entry.doi or entry.url or entry.kind == "software"
    text = entry.bibtex
    assert text.count("{") == text.count("}")
    assert re.match(r"@(article|book|misc)\{[a-z0-9_]+,\n", text)
    assert text.isascii()
    assert all(re.fullmatch(r"  [a-z]+ = \{.+\},", line) for line in text.splitlines()[1:-1])
    assert entry.text.startswith(entry.authors[0])
    assert f"({entry.year})." in entry.text


def test_keys_of_bibtex_are_unique_and_names_short():
    labels = [entry.label for entry in REFERENCES.values()]
    assert len(labels) == len(set(labels))
    assert REFERENCES["pymc"].label == "abrilpla2023"
    several = [Reference(key="k", authors=("A, B.",) * k, year=1, title="t").who for k in (1, 2, 3)]
    assert several == ["A", "A & A", "A et al."]


def test_forms_of_the_list():
    found = hb.cite()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))[0]["key"] == "hierbayes"
    assert len(found.text.splitlines()) == len(found) == found.bibtex.count("@")
    assert found.text in repr(found)
    page = hb.cite(hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")))._repr_html_()
    assert page.count("<li>") == 3
    with pytest.raises(KeyError):
        found.short("loo")

"""Which works an analysis rests on, by looking at its results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from hierbayes.checks.check import Check
from hierbayes.estimates import Estimate, Posterior, Sampled
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.model import Model
from hierbayes.parameterization import MARGINAL

from .citations import Citations
from .reference import SOFTWARE
from .references import REFERENCES, SOFTWARE_USED, installed
from .source import data_reference, known_data

if TYPE_CHECKING:
    from hierbayes.design import Design

SCORES = {"loo", "psis"}
CLOSED_FORM = "random and fixed effects integrated"
"""In the note of scores whose densities have a closed form."""
COLUMNS: dict[frozenset[str], tuple[str, ...]] = {
    frozenset({"elpd_diff", "weight"}): ("loo", "psis", "stacking", "elpd_difference"),
    frozenset({"chisq", "p_naive"}): ("boundary", "variance_test"),
    frozenset({"icc"}): ("r2",),
    frozenset({"r2"}): ("r2", "bayesian_r2"),
    frozenset({"share", "component"}): ("r2",),
}
"""Tables by their columns, and what they rest on."""
UNKNOWN = (
    "cite knows models, fits, scores such as fit.loo(), comparisons such as hb.compare() and hb.lrt(), and checks, "
    "not a {}."
)


def cite(*results: Any) -> Citations:
    """Say what to cite for some results: the software, and the methods behind them.

    Parameters
    ----------
    *results : Model, RemlFit, LaplaceFit, Fit, FamilyFit, ELPD, Check or DataFrame
        Whatever an analysis consists of: models, fits, ``fit.loo()`` and ``fit.logo()``, tables of
        `hierbayes.compare`, `hierbayes.lrt`, ``icc()`` and ``r2()``, checks; lists and dicts of them too. None: the
        software only.

    Returns
    -------
    Citations
        With ``references`` (a table that says what each is cited for), ``text`` and ``bibtex``.

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> import hierbayes as hb
    >>> reml = hb.Model("Yield ~ 1 + (1 | Batch)", hb.load_data("Dyestuff")).reml()
    >>> found = hb.cite(reml)
    >>> found.references["key"].tolist()
    ['hierbayes', 'bambi', 'reml', 'lme4', 'satterthwaite', 'data_Dyestuff']
    >>> print(found.bibtex[:17])
    @misc{hierbayes,
    """
    keys: dict[str, None] = dict.fromkeys(() if results else SOFTWARE_USED)
    data: dict[str, None] = {}
    for result in _flat(results):
        keys |= dict.fromkeys(_keys(result))
        data |= dict.fromkeys(_data(result))
    known = [reference for key, reference in REFERENCES.items() if key in keys or key == "hierbayes"]
    entries = [replace(entry, version=installed(entry.key)) if entry.kind == SOFTWARE else entry for entry in known]
    return Citations((*entries, *map(data_reference, data)))


def _flat(results: Iterable[Any]) -> Iterable[Any]:
    for result in results:
        if isinstance(result, Mapping):
            yield from _flat(result.values())
        elif isinstance(result, (list, tuple)):
            yield from _flat(result)
        else:
            yield result


def _keys(result: Any) -> set[str]:
    """What a result rests on."""
    if isinstance(result, Model):
        return _of_model(result.design)
    if isinstance(result, Estimate):
        return _of_model(result.design) | _of_estimate(result)
    if isinstance(result, LaplaceEstimate):
        return _of_model(result.design) | {"lme4", "laplace" if result.nagq == 1 else "quadrature"}
    if isinstance(result, Sampled):
        return _of_model(result.design) | _of_posterior(result)
    if isinstance(result, Check):
        found = {"prior_sensitivity"} if "prior_sensitivity" in result.tables else set()
        return found | ({"quantile_residuals"} if "quantile" in str(result.findings["finding"].tolist()) else set())
    if isinstance(result, pd.DataFrame):
        return _of_table(result)
    if getattr(result, "elpd_i", None) is not None:
        return _of_scores(result)
    raise TypeError(UNKNOWN.format(type(result).__name__))


def _data(result: Any) -> list[str]:
    """The data set of a result, if it is one of ours."""
    if isinstance(result, Model):
        model = result
    elif getattr(result, "specification", None) is not None:
        model = Model.of(result)
    else:
        return []
    name = known_data(model)
    return [] if name is None else [name]


def _of_model(design: Design) -> set[str]:
    return {"bambi"} | ({"nlme"} if design.residual is not None else set())


def _of_estimate(estimate: Estimate) -> set[str]:
    """REML or ML, and the degrees of freedom that were asked for so far."""
    asked = set(vars(estimate).get("_inferences", {})) or {"satterthwaite"}
    tests = {name.replace("-", "_") for name in asked} & {"satterthwaite", "kenward_roger"}
    return {"lme4"} | ({"reml"} if estimate.method == "REML" else set()) | tests


def _of_posterior(fit: Sampled) -> set[str]:
    found = {"pymc", "arviz", "nutpie", "nuts", "rhat"}
    if fit.idata.attrs.get("parameterization", MARGINAL) == MARGINAL and isinstance(fit, Posterior):
        found.add("marginalized")
    return found | ({"lkj"} if any(part.free for part in fit.design.parts) else set())


def _of_scores(elpd: Any) -> set[str]:
    """Leave-one-out of rows or groups."""
    found = {"arviz", *SCORES}
    if getattr(elpd, "group", None) is not None:
        found.add("marginal_loo")
    if CLOSED_FORM in getattr(elpd, "note", ""):
        found.add("integrated_loo")
    return found


def _of_table(table: pd.DataFrame) -> set[str]:
    for columns, keys in COLUMNS.items():
        if columns <= set(table.columns):
            bayesian = "bayesian_r2" not in keys or "bayesian" in set(table["r2"])
            return {key for key in keys if key != "bayesian_r2" or bayesian}
    raise TypeError(UNKNOWN.format("table with these columns: " + ", ".join(map(str, table.columns))))

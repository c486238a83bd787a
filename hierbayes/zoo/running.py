"""All models of a card, fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from hierbayes.cross_validation.comparison import compare
from hierbayes.display import document, table
from hierbayes.estimates import TIDY
from hierbayes.progress import bar

from .cards import Card
from .findings import maximum
from .shelf import card as find

if TYPE_CHECKING:
    from hierbayes.model import Model
    from hierbayes.results import FamilyFit, Fit, LaplaceFit, RemlFit


@dataclass(frozen=True, repr=False)
class Run:
    """The models of a card and their fits, by name, the main one first.

    Attributes
    ----------
    card : Card
    models : dict of str to Model
    maxima : dict of str to RemlFit or LaplaceFit
        REML for Gaussian responses, else maximum likelihood; without the models that have no such fit.
    fits : dict of str to Fit or FamilyFit
    """

    card: Card
    models: Mapping[str, Model]
    maxima: Mapping[str, RemlFit | LaplaceFit]
    fits: Mapping[str, Fit | FamilyFit]

    @property
    def table(self) -> pd.DataFrame:
        """Estimates of all models by both inferences.

        Returns
        -------
        pandas.DataFrame
            Columns model, method and those of `hierbayes.RemlFit.tidy`.
        """
        parts = []
        for name in self.models:
            if name in self.maxima:
                fit = self.maxima[name]
                parts.append(fit.tidy().assign(model=name, method=getattr(fit, "method", "ML")))
            if name in self.fits:
                parts.append(self.fits[name].tidy().assign(model=name, method="posterior"))
        return pd.concat(parts, ignore_index=True)[["model", "method", *TIDY]]

    def compare(self, target: str = "row", **options: Any) -> pd.DataFrame:
        """Compare the posteriors by their expected log predictive densities.

        Parameters
        ----------
        target : {"row", "group", "future"}, default "row"
        **options
            Of `hierbayes.compare`.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        HierbayesError, ValueError
            As of `hierbayes.compare`.
        """
        if target == "group" and self.card.verify.group is not None:
            options = {"group": self.card.verify.group} | options
        return compare(dict(self.fits), target, **options)

    def _shown(self) -> pd.DataFrame:
        return self.table[["model", "method", "group", "term", "estimate", "std_error", "conf_low", "conf_high"]]

    def __repr__(self) -> str:
        text = self._shown().to_string(index=False, na_rep="", float_format=lambda v: f"{v:.4g}")
        return "\n".join(
            [self.card.title, *(f"{name}: {model.formula}" for name, model in self.models.items()), text]
        )

    def _repr_html_(self) -> str:
        return document(self.card.title, self.card.question, table(self._shown(), "estimates"))


def run(
    name: str,
    formula: str | int | None = None,
    *,
    seed: int | None = None,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    posterior: bool = True,
    progress: bool | None = None,
) -> Run:
    """Fit the models of a card by both inferences.

    Parameters
    ----------
    name : str or path
        As of `hierbayes.zoo.card`.
    formula : str or int, optional
        One of the models only, as of `hierbayes.zoo.load`.
    seed : int, optional
        Of the sampler.
    draws, tune : int, default 1000
        Per chain.
    chains : int, default 4
    posterior : bool, default True
        False leaves the sampling out. Models that say ``posterior = false`` in the card are never sampled, unless
        they are named.
    progress : bool, optional
        Show a progress bar; by default if somebody is watching.

    Returns
    -------
    Run
        ``hb.report(run.models, "report.html", fit=run.fits)`` makes a report of it.

    Raises
    ------
    DatasetError
        If there is no such card, or its data are not here and cannot be downloaded.
    FormulaError
        If the card has no such model.

    Warns
    -----
    SingularFit, ConvergenceWarning
        As of `hierbayes.Model.reml` and `hierbayes.Model.fit`.

    Examples
    --------
    >>> import hierbayes as hb
    >>> found = hb.zoo.run("dyestuff", "batches", posterior=False)
    >>> found.table[["model", "term", "estimate"]].round(1)
         model           term  estimate
    0  batches      Intercept    1527.5
    1  batches  sd(Intercept)      42.0
    2  batches          sigma      49.5
    """
    card = find(name)
    data = card.data()
    chosen = card.models if formula is None else (card.candidate(formula),)
    models = {candidate.name: candidate.model(data) for candidate in chosen}
    maxima, fits = {}, {}
    with bar(f"fits of {card.name}", len(chosen), progress) as advance:
        for candidate in chosen:
            model = models[candidate.name]
            if (found := maximum(model, candidate.nagq)) is not None:
                maxima[candidate.name] = found
            if posterior and (candidate.posterior or formula is not None):
                fits[candidate.name] = model.fit(draws=draws, tune=tune, chains=chains, seed=seed, progress=False)
            advance(1)
    return Run(card, models, maxima, fits)

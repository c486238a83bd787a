"""What the shell offers after the Tab key."""

from __future__ import annotations

from collections.abc import Iterable

FAMILIES = (
    "asymmetriclaplace", "bernoulli", "beta", "beta_binomial", "binomial", "categorical", "cumulative",
    "dirichlet_multinomial", "exgaussian", "exponential", "gamma", "gaussian", "hurdle_gamma", "hurdle_lognormal",
    "hurdle_negativebinomial", "hurdle_poisson", "laplace", "lognormal", "multinomial", "negativebinomial", "poisson",
    "sratio", "t", "vonmises", "wald", "weibull", "zero_inflated_binomial", "zero_inflated_negativebinomial",
    "zero_inflated_poisson",
)  # fmt: skip
"""Those of Bambi, which takes too long to import for somebody who waits for the Tab key."""
LINKS = ("cloglog", "identity", "inverse", "inverse_squared", "log", "logit", "probit", "softmax")
KINDS = {".csv", ".gz", ".parquet", ".pq", ".feather", ".arrow", ".hb"}
"""Endings of files that may hold data or a fit."""


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def data_sets(incomplete: str) -> list[str]:
    """Names of example data sets.

    Examples
    --------
    >>> data_sets("sleep")
    ['sleepstudy']
    """
    from hierbayes.datasets.registry import REGISTRY

    return _beginning(REGISTRY, incomplete)


def sources(incomplete: str) -> list[str]:
    """Names of example data sets, and files that may hold data or a fit.

    Examples
    --------
    >>> sources("Pastes")
    ['Pastes']
    """
    from pathlib import Path

    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [str(path) for path in found if path.suffix.lower() in KINDS]
    folders = [f"{path}/" for path in found if path.is_dir() and not path.name.startswith(".")]
    return [*data_sets(incomplete), *_beginning([*files, *folders], incomplete)]


def models(incomplete: str) -> list[str]:
    """Names of the models of the zoo.

    Examples
    --------
    >>> models("sleep")
    ['sleepstudy']
    """
    from importlib.resources import files
    from pathlib import Path

    package = files("hierbayes")  # where hierbayes.zoo, which takes long to import, finds them
    shelves = (package.joinpath("model_zoo"), Path(str(package)).parent / "model_zoo")
    found = {folder.name for shelf in shelves if shelf.is_dir() for folder in shelf.iterdir() if folder.is_dir()}
    return _beginning(sorted(found), incomplete)


def families(incomplete: str) -> list[str]:
    """Names of families.

    Examples
    --------
    >>> families("bern")
    ['bernoulli']
    """
    return _beginning(FAMILIES, incomplete)


def links(incomplete: str) -> list[str]:
    """Names of links, of whatever family.

    Examples
    --------
    >>> links("log")
    ['log', 'logit']
    """
    return _beginning(LINKS, incomplete)

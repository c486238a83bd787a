"""Priors in Bambi's form as values of JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hierbayes.from_bambi.bambi_model import is_prior
from hierbayes.plain import from_plain, to_plain


def to_plain_priors(priors: Mapping[str, Any]) -> dict[str, Any]:
    """Priors as JSON has them.

    Parameters
    ----------
    priors : mapping of str to bambi.Prior or number
        Priors may have priors for parameters.

    Returns
    -------
    dict

    Examples
    --------
    >>> import bambi as bmb
    >>> to_plain_priors({"1|g": bmb.Prior("Normal", mu=0, sigma=bmb.Prior("HalfNormal", sigma=2.5))})
    {'1|g': {'prior': 'Normal', 'args': {'mu': 0.0, 'sigma': {'prior': 'HalfNormal', 'args': {'sigma': 2.5}}}}}
    """
    return {name: _to_plain(value) for name, value in priors.items()}


def _to_plain(value: Any) -> Any:
    if not is_prior(value):
        return to_plain(value.tolist() if isinstance(value, np.ndarray) and not value.ndim else value)
    made = {"prior": value.name, "args": to_plain_priors(value.args)}
    defaults = {"auto_scale": True, "noncentered": None}
    return made | {name: getattr(value, name) for name, usual in defaults.items() if getattr(value, name) != usual}


def from_plain_priors(priors: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `to_plain_priors`."""
    return {name: _from_plain(value) for name, value in priors.items()}


def _from_plain(value: Any) -> Any:
    if not (isinstance(value, dict) and "prior" in value):
        return from_plain(value)
    import bambi as bmb

    settings = {key: item for key, item in value.items() if key not in {"prior", "args"}}
    return bmb.Prior(value["prior"], **settings, **from_plain_priors(value["args"]))

"""Fits become plain values: a file a section, each returns what its template prints."""

from __future__ import annotations

from .accuracy import accuracy_section
from .candidates import candidates_section
from .checks import checks_section, checks_table
from .convergence import convergence_section
from .data import data_section, relations
from .effects import effects_section
from .estimates import estimates_section
from .methods import methods_section
from .model import model_section
from .overview import overview
from .predictors import categorical, references
from .priors import priors_section
from .reproduce import reproduce_section
from .variance import variance_section, variance_tables

__all__ = [
    "accuracy_section",
    "candidates_section",
    "categorical",
    "checks_section",
    "checks_table",
    "convergence_section",
    "data_section",
    "effects_section",
    "estimates_section",
    "methods_section",
    "model_section",
    "overview",
    "priors_section",
    "references",
    "relations",
    "reproduce_section",
    "variance_section",
    "variance_tables",
]

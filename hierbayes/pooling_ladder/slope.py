"""Which coefficient the ladder is about, and the columns that go with it."""

from __future__ import annotations

from dataclasses import dataclass

from hierbayes import variation
from hierbayes.design import Design, Term
from hierbayes.errors import FormulaError, suggest

INTERCEPT = "Intercept"


@dataclass(frozen=True)
class Slope:
    """A fixed effect of a model with one grouping factor.

    Parameters
    ----------
    label : str
        Of the coefficient: ``"edu"``, ``"sex[Male]"``.
    column : int
        Of X.
    term : Term
        That it belongs to.
    together : tuple of int
        Columns of X of the whole term, `column` the last of them.
    """

    label: str
    column: int
    term: Term
    together: tuple[int, ...]


def find_slope(design: Design, term: str | None = None) -> Slope:
    """Find the coefficient that is meant.

    Parameters
    ----------
    design : Design
        With one grouping factor.
    term : str, optional
        Label of a fixed effect, or name of a term of one column. By default the random slope, else the only numeric
        predictor that varies within groups.

    Returns
    -------
    Slope

    Raises
    ------
    FormulaError
        If the model has no fixed effect but the intercept.
    ValueError
        If there is no such coefficient, if a name stands for several, or if several could be meant.
    """
    labels = [label for label in design.labels if label != INTERCEPT]
    if not labels:
        raise FormulaError(
            f"The formula {design.formula!r} has no fixed effect but the intercept, and the ladder needs a slope; "
            "add a predictor."
        )
    if term is None:
        label = _default(design, labels)
    elif term in labels:
        label = term
    else:
        columns = [label for found in design.terms if found.name == term for label in found.labels]
        if len(columns) != 1 or columns == [INTERCEPT]:
            asked = f"The term {term!r} has the coefficients {_listed(columns)}; name one of them."
            missing = f"There is no slope {term!r}. {suggest(str(term), labels)}"
            raise ValueError(asked if len(columns) > 1 else missing)
        label = columns[0]
    column = design.labels.index(label)
    owners = [found for found in design.terms for _ in found.labels]
    others = (k for k, owner in enumerate(owners) if owner is owners[column] and k != column)
    return Slope(label, column, owners[column], (*others, column))


def _default(design: Design, labels: list[str]) -> str:
    slopes = [label for label in design.effect_labels if label != INTERCEPT]
    if slopes and not set(slopes) & set(labels):
        raise ValueError(
            f"The random slopes {_listed(slopes)} have no fixed effect beside them; add it to the formula, or name a "
            f"coefficient: term={labels[0]!r}."
        )
    if not slopes:
        slopes = [
            label
            for term in design.terms
            for label in term.labels
            if all(part.coding is None for part in term.components) and varies(design, design.labels.index(label))
        ]
    candidates = [label for label in dict.fromkeys(slopes) if label in labels]
    if len(candidates) == 1:
        return candidates[0]
    raise ValueError(
        f"The ladder is about one coefficient, and {'several' if candidates else 'none'} of those of "
        f"{design.formula!r} stand{'' if candidates else 's'} out; say which: term= one of "
        f"{_listed(candidates or labels)}."
    )


def varies(design: Design, column: int) -> bool:
    """Whether a column of X varies within any level of the only grouping factor."""
    (factor,) = design.factors
    return bool(variation.varies(design.X[:, [column]], factor)[0][0])


def check_ladder(design: Design) -> None:
    """Refuse models that the ladder is not for.

    Raises
    ------
    FormulaError
        Unless there is one grouping factor, independent residuals of unknown variance, and a Gaussian response.
    """
    text = f"The pooling ladder of {design.formula!r}"
    if not design.family.exact:
        raise FormulaError(
            f"{text} stands on ordinary regression: it needs a Gaussian response, not {design.family}."
        )
    if len(design.factors) != 1:
        found = " and ".join(repr(factor.name) for factor in design.factors) or "none"
        raise FormulaError(
            f"{text} needs one grouping factor, to ignore, to take as fixed or to pool, and the model has {found}."
        )
    if design.residual is not None:
        raise FormulaError(
            f"{text} needs independent residuals, as ordinary regression assumes; leave out {design.residual.text}."
        )
    if design.sigma is not None:
        raise FormulaError(f"{text} needs a residual variance to estimate; leave out se=, or use weights=.")


def _listed(labels: list[str]) -> str:
    return ", ".join(map(repr, labels))

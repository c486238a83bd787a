r"""Shrinkage in two dimensions: two effects of every level, without pooling, by REML and in the posterior.

Partial pooling moves the two effects of a level together, along their correlation. The ellipses are contours of the
estimated distribution of levels, ``{ b : bᵀ Σ⁻¹ b = r² }`` with ``r² = -2 log(1 - p)``, which hold a share p of
levels if effects are Normal with covariance Σ: by REML Σ̂, in the posterior the mean of the draws of Σ, which is the
covariance of the effects of a new level. They are drawn as ``b = r F (cos t, sin t)ᵀ`` with Σ = F Fᵀ, so that of a
singular Σ the ellipse is a line, and of Σ = 0 a point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hierbayes import display
from hierbayes.design import Design, Factor
from hierbayes.errors import DataError, suggest
from hierbayes.estimates import VARIANCE, Estimate, Posterior, Sampled
from hierbayes.laplace_estimate import LaplaceEstimate
from hierbayes.partial_pooling.shrinkage import shrinkage
from hierbayes.side_by_side.effects import level_effects
from hierbayes.side_by_side.maximum import beside, called, sampled

PROBABILITIES = (0.5, 0.95)
"""Shares of levels that the ellipses hold."""
AROUND = 121
"""Points of an ellipse."""
SINGULAR = 1e-8
"""A correlation matrix with a smaller eigenvalue is singular."""
NO_POOLING, POSTERIOR = "no pooling", "posterior"
"""Names of inferences in the tables, beside that of the maximum."""


@dataclass(frozen=True, eq=False, repr=False)
class Plane:
    """Two effects of the levels of a grouping factor.

    Made by `hierbayes.plane`.

    Parameters
    ----------
    group, x, y : str
        The factor and its two effects.
    method : str
        Of the maximum: ``"REML"`` or ``"ML"``, empty if there is none.
    table : pandas.DataFrame
        Columns level, inference ("no pooling" for Gaussian responses, the method, "posterior"), x, y: deviations
        from the fixed effects, on the scale of the linear predictor. NaN where a level has no estimate of its own.
    covariances : dict of str to (2, 2) array
        By inference.
    ellipses : pandas.DataFrame
        Columns inference, probability (0.5, 0.95), x, y: outlines.
    total : int
        Number of levels; the table has some of them if there are many.
    """

    group: str
    x: str
    y: str
    method: str
    table: pd.DataFrame
    covariances: dict[str, np.ndarray]
    ellipses: pd.DataFrame
    total: int

    @property
    def shown(self) -> int:
        """Number of levels in the table."""
        return int(self.table["level"].nunique())

    @property
    def singular(self) -> tuple[str, ...]:
        """Inferences whose covariance is singular: their ellipse is a line or a point."""
        return tuple(name for name, covariance in self.covariances.items() if _singular(covariance))

    @property
    def correlations(self) -> dict[str, float]:
        """Correlation of the two effects by inference, NaN where one of them does not vary."""
        found = {}
        for name, covariance in self.covariances.items():
            scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
            found[name] = float(np.clip(covariance[0, 1] / scale, -1.0, 1.0)) if scale > 0.0 else np.nan
        return found

    @property
    def note(self) -> str:
        """What is singular, and what that means, in a sentence; empty if nothing is."""
        sentences = []
        for name in self.singular:
            r = self.correlations[name]
            if not np.isnan(r):
                sentences.append(f"By {name} the correlation is {r:.0f}, so the ellipse is a line.")
                continue
            variances = zip((self.x, self.y), np.diag(self.covariances[name]), strict=True)
            still = [label for label, variance in variances if variance <= 0.0]
            verb, shape = ("does", "line") if len(still) == 1 else ("do", "point")
            sentences.append(f"By {name} {' and '.join(still)} {verb} not vary, so the ellipse is a {shape}.")
        return " ".join(sentences)

    def _repr_html_(self) -> str:
        shown = pd.DataFrame({"inference": list(self.correlations), "correlation": list(self.correlations.values())})
        notes = display.said([("note", self.note)])
        title = f"{self.x} and {self.y} of {self.shown:,} of {self.total:,} levels of {self.group}"
        return display.document(title, notes, display.table(shown, "Correlation of the effects"))

    def __repr__(self) -> str:
        correlation = ", ".join(f"{name} {r:.2f}" for name, r in self.correlations.items())
        lines = [
            f"{self.x} and {self.y} of {self.shown:,} of {self.total:,} levels of {self.group}",
            f"correlation of the effects: {correlation}",
            *([self.note] if self.note else []),
        ]
        return "\n".join(lines)


def plane(
    fit: Sampled,
    x: str | None = None,
    y: str | None = None,
    group: str | None = None,
    maximum: Estimate | LaplaceEstimate | None = None,
    most: int = 400,
) -> Plane:
    """Two effects of every level without pooling, by REML and in the posterior, with their ellipses.

    Parameters
    ----------
    fit : Fit or FamilyFit
    x, y : str, optional
        Two effects of the factor, such as ``"Intercept"`` and ``"Days"``; by default its first two correlated ones.
    group : str, optional
        Grouping factor; by default the first with two correlated effects, or with two effects.
    maximum : RemlFit or LaplaceFit, optional
        Of the same model; by default the REML fit of a Gaussian posterior, and none of another family.
    most : int, default 400
        Of more levels so many are kept, evenly from the smallest to the largest x.

    Returns
    -------
    Plane

    Raises
    ------
    DataError
        If no grouping factor has two effects, or if a factor or an effect does not exist.
    ValueError
        If `most` is not positive.

    Notes
    -----
    See `hierbayes.side_by_side.plane`. What least squares says of a level alone is there for Gaussian responses.

    Examples
    --------
    >>> import hierbayes as hb
    >>> model = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy"))
    >>> found = hb.plane(model.fit(seed=1, progress=False))
    >>> found.x, found.y, {name: round(r, 1) for name, r in found.correlations.items()}
    ('Intercept', 'Days', {'REML': 0.1, 'posterior': 0.0})
    """
    sampled(fit, "plane")
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    design, maximum = fit.design, beside(fit, maximum)
    if design.outcomes is not None:
        raise DataError(f"{design.response!r} has several linear predictors, one an outcome, and no single plane.")
    factor = _factor(design, group)
    labels = _labels(design, factor)
    first, second = _pair(design, factor, labels, x, y)
    if isinstance(fit, Posterior) and isinstance(maximum, Estimate) and maximum.method == "REML":
        effects = shrinkage(maximum, fit)
    else:
        effects = level_effects(fit, maximum)
    effects = effects[effects["group"] == factor.name]
    one, other = (effects[effects["effect"] == label].set_index("level") for label in (first, second))
    order = np.argsort(one["mean"].to_numpy(), kind="stable")
    kept = np.sort(order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))])
    columns = {NO_POOLING: "no_pooling", called(maximum): "blup", POSTERIOR: "mean"}
    table = pd.concat(
        [
            pd.DataFrame(
                {
                    "level": one.index[kept].astype(str),
                    "inference": name,
                    "x": one[column].to_numpy(dtype=float)[kept],
                    "y": other[column].to_numpy(dtype=float)[kept],
                }
            )
            for name, column in columns.items()
            if column in one
        ],
        ignore_index=True,
    )
    covariances = {}
    if maximum is not None:
        at = [design.effects_of(factor).start + labels.index(label) for label in (first, second)]
        covariances[called(maximum)] = np.asarray(maximum.covariance)[np.ix_(at, at)]
    covariances[POSTERIOR] = _mean_covariance(fit, factor.name, first, second)
    outlines = [
        pd.DataFrame(outline(covariance, p), columns=["x", "y"]).assign(inference=name, probability=p)
        for name, covariance in covariances.items()
        for p in PROBABILITIES
    ]
    ellipses = pd.concat(outlines, ignore_index=True)[["inference", "probability", "x", "y"]]
    return Plane(factor.name, first, second, called(maximum), table, covariances, ellipses, len(factor.levels))


def outline(covariance: np.ndarray, probability: float) -> np.ndarray:
    """Outline of the ellipse that holds a share of a bivariate Normal distribution around 0.

    Parameters
    ----------
    covariance : (2, 2) array
        May be singular.
    probability : float

    Returns
    -------
    (points, 2) array
        Closed; of a singular covariance it goes along a line and back.

    Examples
    --------
    >>> outline(np.eye(2), 0.95)[0].round(3)
    array([2.448, 0.   ])
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    root = root @ vectors.T  # the symmetric root begins where the first axis points
    t = np.linspace(0.0, 2.0 * np.pi, AROUND)
    r = np.sqrt(-2.0 * np.log1p(-probability))
    return np.asarray(r * (np.column_stack([np.cos(t), np.sin(t)]) @ root.T))


def _singular(covariance: np.ndarray) -> bool:
    scale = np.sqrt(np.diag(covariance))
    if not (scale > 0.0).all():
        return True
    return bool(np.linalg.eigvalsh(covariance / np.outer(scale, scale))[0] < SINGULAR)


def _labels(design: Design, factor: Factor) -> list[str]:
    return [label for part in design.parts_of(factor) for label in part.block.labels]


def _factor(design: Design, group: str | None) -> Factor:
    """The factor asked for, or the first with two correlated effects, or with two."""
    named = {factor.name: factor for factor in design.factors}
    if group is not None:
        if group not in named:
            raise DataError(f"There is no grouping factor {group!r}. {suggest(group, list(named))}")
        return named[group]
    correlated = [part.factor for part in design.parts if part.free and part.where.stop - part.where.start > 1]
    several = [factor for factor in design.factors if len(_labels(design, factor)) > 1]
    if not correlated + several:
        raise DataError(
            f"{design.formula!r} has one effect a level, and two are needed for a plane; "
            "hb.plots.shrinkage_figure draws one."
        )
    return (correlated + several)[0]


def _pair(design: Design, factor: Factor, labels: list[str], x: str | None, y: str | None) -> tuple[str, str]:
    """The two effects asked for, or the first two, correlated ones if there are such."""
    for name in (x, y):
        if name is not None and name not in labels:
            raise DataError(f"{factor.name!r} has no effect {name!r}. {suggest(name, labels)}")
    if len(labels) < 2:
        raise DataError(f"Levels of {factor.name!r} have one effect, {labels[0]!r}, and two are needed for a plane.")
    correlated = [part.block.labels for part in design.parts_of(factor) if part.free and len(part.block.labels) > 1]
    free = list(correlated[0] if correlated else labels)
    first = x or next(label for label in [*free, *labels] if label != y)
    second = y or next(label for label in [*free, *labels] if label != first)
    if first == second:
        raise DataError(f"x and y are both {first!r}; a plane needs two different effects.")
    return first, second


def _mean_covariance(fit: Sampled, group: str, first: str, second: str) -> np.ndarray:
    """Posterior mean of the covariance matrix of two effects."""
    draws = fit.parameter_draws()
    a, b = (draws[VARIANCE, group, f"sd({label})"].to_numpy() for label in (first, second))
    names = [f"corr({first}, {second})", f"corr({second}, {first})"]
    r = next((draws[VARIANCE, group, name].to_numpy() for name in names if (VARIANCE, group, name) in draws), 0.0)
    return np.array([[np.mean(a * a), np.mean(a * b * r)], [np.mean(a * b * r), np.mean(b * b)]])

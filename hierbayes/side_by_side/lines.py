"""Complete, no and partial pooling as lines through the data of some levels."""

from __future__ import annotations

from hierbayes.errors import DataError
from hierbayes.estimates import Posterior, Sampled
from hierbayes.partial_pooling.shrinkage import GroupLines, group_lines, shrinkage
from hierbayes.side_by_side.maximum import sampled
from hierbayes.specification import required


def pooling_lines(fit: Sampled, most: int = 12) -> GroupLines:
    """Lines of complete, no and partial pooling through the data of some levels.

    Parameters
    ----------
    fit : Fit
    most : int, default 12
        Number of levels; if there are more, they are taken evenly from the smallest to the largest effect.

    Returns
    -------
    GroupLines
        Its ``points`` and ``lines`` are what `hierbayes.plots.groups_figure` draws.

    Raises
    ------
    DataError
        If the response is not Gaussian, or if there is no one numeric predictor along which levels are lines.
    ValueError
        If `most` is not positive.

    Notes
    -----
    See `hierbayes.partial_pooling.shrinkage.group_lines`.

    Examples
    --------
    >>> import hierbayes as hb
    >>> fit = hb.Model("Reaction ~ Days + (Days | Subject)", hb.load_data("sleepstudy")).fit(seed=1, progress=False)
    >>> hb.pooling_lines(fit, most=3).levels
    ('335', '333', '308')
    """
    sampled(fit, "pooling_lines")
    if most < 1:
        raise ValueError(f"most must be at least 1, not {most}")
    if not isinstance(fit, Posterior):
        raise DataError("Lines through groups need a Gaussian response with identity link; hb.predictive is for all.")
    data = required(fit.specification).data
    found = group_lines(fit.reml, fit, shrinkage(fit.reml, fit), data, most)
    if found is None:
        raise DataError(
            f"{fit.design.formula!r} has no one numeric predictor along which its groups are straight lines; "
            "hb.plots.shrinkage_figure(fit.shrinkage(), group) shows them without."
        )
    return found

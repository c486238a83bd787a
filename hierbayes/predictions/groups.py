r"""For which groups a prediction is meant.

=============  ==================================================  =======================  =========================
groups         random effects of a row                             lme4                     brms
=============  ==================================================  =======================  =========================
"known"        those of its level; another level is refused        re.form=NULL             re_formula=NULL
"new"          those of a new level, drawn from N(0, Σ); rows      simulate, re.form=NA     allow_new_levels=TRUE,
               with one label share the draw                                                sample_new_levels=
                                                                                            "gaussian", new labels
"mixed"        those of its level if it was fitted, else of a      allow.new.levels, which  allow_new_levels=TRUE,
               new one                                             takes 0 for new ones     sample_new_levels=
                                                                                            "gaussian"
"average"      zero                                                re.form=NA               re_formula=NA
"population"   integrated out: the expected response over all      \-                       \-
               levels that there could be
=============  ==================================================  =======================  =========================

"average" and "population" say the same where the expected response is linear in the random effects (identity link),
and not elsewhere: with a logit link the average group is not the average over groups.
"""

from __future__ import annotations

from collections.abc import Mapping

from hierbayes.design import Design
from hierbayes.errors import suggest

KNOWN, NEW, MIXED, AVERAGE, POPULATION = "known", "new", "mixed", "average", "population"
GROUPS = (KNOWN, NEW, MIXED, AVERAGE, POPULATION)
LINEAR, MEAN, RESPONSE = "linear", "mean", "response"
KINDS = (LINEAR, MEAN, RESPONSE)

Groups = str | Mapping[str, str]


def read_groups(groups: Groups, design: Design) -> dict[str, str]:
    """What to do with each grouping factor of a design.

    Parameters
    ----------
    groups : str or mapping of str to str
        One of `GROUPS` for all factors, or one for each; a factor that is not there is "known".
    design : Design

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        For another word, or a factor that the model does not have.
    """
    names = [factor.name for factor in design.factors]
    wanted = dict.fromkeys(names, KNOWN) | (
        dict(groups) if isinstance(groups, Mapping) else dict.fromkeys(names, groups)
    )
    for name, value in wanted.items():
        if name not in names:
            raise ValueError(
                f"groups names {name!r}, which is no grouping factor of the model. {suggest(name, names)}"
            )
        if value not in GROUPS:
            raise ValueError(f"groups must be one of {', '.join(GROUPS)}, not {value!r}")
    if not names and groups not in GROUPS and groups != {}:
        raise ValueError(f"groups must be one of {', '.join(GROUPS)}, not {groups!r}")
    return wanted


def check_kind(kind: str) -> None:
    """Refuse another kind of prediction than those of `KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")

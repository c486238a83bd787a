"""Which candidate predicts better, or that the data do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hierbayes.plots.elpd import verdict

from .coefficients import Finding
from .numbers import joined, sentence, show
from .scores import Scores, to_predict

if TYPE_CHECKING:
    from .comparison import Comparison


def preferences(
    comparison: Comparison, formulas: Mapping[str, str], scores: Mapping[str, Scores] | None = None
) -> list[Finding]:
    """Which candidate predicts new rows and new groups better, or that the data do not tell.

    Parameters
    ----------
    comparison : Comparison
    formulas : mapping of str to str
        By label of the candidate.
    scores : mapping of str to Scores, optional
        By label of the candidate, to say where Pareto k is too high.

    Returns
    -------
    list of Finding
        One for each thing to predict.
    """
    made: list[Finding] = []
    for key, table in comparison.scores.items():
        best, rival = str(table.index[0]), table.iloc[1]
        said = verdict(float(rival["elpd_diff"]), float(rival["dse"]), table.attrs.get("items"))
        what, other = to_predict(key), str(table.index[1])
        if said in ("worse", "probably worse"):
            probably = "probably " if said == "probably worse" else ""
            claim = f"{best} {probably}predicts {what} better than {other}."
            if len(table) > 2:
                claim = f"{best} {probably}predicts {what} best."
        elif len(table) == 2:
            claim = f"The data do not tell whether {best} or {other} predicts {what} better."
        else:
            claim = f"The data do not tell which candidate predicts {what} best."
        away = [
            f"{name} is {show(abs(row['elpd_diff']), 1)} behind {best}, standard error {show(row['dse'], 1)}"
            for name, row in table.iloc[1:].iterrows()
        ]
        evidence = f"By expected log predictive density {joined(away)}."
        high = [label for label, each in (scores or {}).items() if key in each.high]
        if high:
            evidence += f" Some Pareto k of {joined(high)} are too high, so this is not to be trusted yet."
        evidence += "".join(f" {sentence(remark)}" for remark in comparison.remarks[key])
        if len(made) == 0:
            named = [f"{label} is {formula}" for label, formula in formulas.items() if label != formula]
            evidence += f" {'; '.join(named)}." if named else ""
        made.append(Finding(claim, evidence, anchor="candidates", link="The candidates"))
    if not made:
        reason = " ".join(comparison.absent.values())
        made.append(Finding("The candidates were not compared by their predictions.", reason, anchor="candidates"))
    return made

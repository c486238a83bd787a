"""What was asked of both fits of a candidate, and what came out: each answer once, with the fit that it is about."""

from __future__ import annotations

from dataclasses import dataclass

from hierbayes.checks.check import SEVERITIES, Verdict

from .candidates import Candidate
from .numbers import typeset

OF_REML = "Of the REML fit: "
"""What a check of a posterior puts before what it says of the REML fit."""


@dataclass(frozen=True)
class Answer:
    """One verdict, and which fit it is about.

    Parameters
    ----------
    of, topic, severity, finding, next : str
    """

    of: str
    topic: str
    severity: str
    finding: str
    next: str


def answers(candidate: Candidate) -> list[Answer]:
    """Everything that was asked of both fits, the gravest first; what both were asked comes once.

    Parameters
    ----------
    candidate : Candidate

    Returns
    -------
    list of Answer
    """
    made = []
    for verdict in candidate.check.verdicts:
        of = candidate.short if verdict.finding.startswith(OF_REML) else "posterior"
        made.append(_answer(of, verdict, verdict.finding.removeprefix(OF_REML)))
    said = {(answer.topic, answer.finding) for answer in made}
    for verdict in candidate.maximum_check.verdicts if candidate.maximum_check is not None else []:
        answer = _answer(candidate.short, verdict, verdict.finding)
        if (answer.topic, answer.finding) not in said:
            made.append(answer)
    return sorted(made, key=lambda answer: -SEVERITIES.index(answer.severity))


def _answer(of: str, verdict: Verdict, finding: str) -> Answer:
    finding = finding[:1].upper() + finding[1:]
    return Answer(of, verdict.topic, verdict.severity, typeset(finding), typeset(verdict.next))

"""The model zoo: classic mixed models with their data, what to look for, and what they give.

``hb.zoo.list()`` shows them, ``hb.zoo.card("sleepstudy")`` one of them; ``hb.zoo.load("sleepstudy")`` is its `Model`,
``hb.zoo.run("sleepstudy")`` fits all that compete; and ``hb.zoo.verify()`` fits everything again and compares with
what is expected.
"""

from .cards import Candidate, Card
from .recording import record
from .running import Run, run
from .shelf import card, load
from .shelf import list_models as list  # noqa: A004
from .verification import Verification, verify

__all__ = [
    "Candidate",
    "Card",
    "Run",
    "Verification",
    "card",
    "list",
    "load",
    "record",
    "run",
    "verify",
]

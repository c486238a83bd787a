"""Every model of the zoo whose data are here still gives what is expected."""

from __future__ import annotations

import pytest

import hierbayes as hb
from hierbayes.zoo import shelf

NAMES = shelf.names()


def verified(name, posterior, monkeypatch, shared):
    """Whether a card is as expected; cards whose data are not here are skipped."""
    card = hb.zoo.card(name)
    if not card.at_hand:
        monkeypatch.setenv("HIERBAYES_DATA", str(shared("datasets/rat_pup.csv").parent))
    found = hb.zoo.verify(name, posterior=posterior, progress=False)
    assert found.ok, repr(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_main_model_is_as_expected(name, monkeypatch, shared):
    """Maxima of all models of a card, posterior and scores of the main one."""
    verified(name, "main", monkeypatch, shared)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_as_expected(name, monkeypatch, shared):
    """Posteriors and scores of all models of a card."""
    verified(name, "all", monkeypatch, shared)

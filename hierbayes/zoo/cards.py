"""A card of the zoo: the question, the data, the models that compete, and what to look for.

``model_zoo/README.md`` lists the keys of ``card.toml``.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from hierbayes.display import document, facts, table
from hierbayes.errors import DataError, FormulaError, suggest

from .keys import Keys
from .prior_text import plain_prior, read_priors
from .source import Source, read_source

if TYPE_CHECKING:
    import pandas as pd

    from hierbayes.model import Model

CARD = "card.toml"
ARGUMENTS = ("family", "link", "weights", "se", "residual", "center_predictors")
"""Arguments of `hierbayes.Model` that a card may give."""
TARGETS = ("row", "group")
"""What may be left out."""
WIDTH = 100
"""Characters of a line of the text of a card."""


@dataclass(frozen=True)
class Candidate:
    """One model of a card.

    Attributes
    ----------
    name, formula, why : str
    arguments : dict
        Of `hierbayes.Model`, beside formula, data and priors.
    priors : dict of str to str
        As the card writes them.
    nagq : int
        Nodes of the quadrature of `hierbayes.Model.ml`; 1 is the Laplace approximation.
    posterior : bool
        Whether `expected.json` has its posterior.
    """

    name: str
    formula: str
    why: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    priors: Mapping[str, str] = field(default_factory=dict)
    nagq: int = 1
    posterior: bool = True

    def model(self, data: pd.DataFrame) -> Model:
        """Make the model.

        Parameters
        ----------
        data : pandas.DataFrame

        Returns
        -------
        Model
        """
        from hierbayes.model import Model

        return Model(self.formula, data, priors=read_priors(self.priors), **self.arguments)


@dataclass(frozen=True)
class Verify:
    """How the models of a card are verified.

    Attributes
    ----------
    draws : int
        Per chain, after as many warm-up draws.
    elpd : tuple of {"row", "group"}
        What is left out.
    group : str or None
        The factor whose levels are left out, if there are several.
    tolerance : float
        Of the estimates of a maximum, in their standard errors.
    """

    draws: int = 500
    elpd: tuple[str, ...] = TARGETS
    group: str | None = None
    tolerance: float = 1e-5


@dataclass(frozen=True, repr=False)
class Card:
    """A card of the zoo.

    Attributes
    ----------
    name : str
        Of its folder.
    title, question : str
    topics, look_for, references : tuple of str
    source : Source
        The data, where they are from and on what terms.
    models : tuple of Candidate
        The main one first.
    verify : Verify
    folder : Traversable
        Where the card is.

    Examples
    --------
    >>> import hierbayes as hb
    >>> card = hb.zoo.card("sleepstudy")
    >>> card.title, [model.name for model in card.models]
    ('Reaction time under sleep restriction', ['slopes', 'uncorrelated', 'intercepts'])
    >>> card.model("intercepts")
    Model('Reaction ~ Days + (1 | Subject)': 180 rows, 18 levels of Subject)
    """

    name: str
    title: str
    question: str
    topics: tuple[str, ...]
    look_for: tuple[str, ...]
    references: tuple[str, ...]
    source: Source
    models: tuple[Candidate, ...]
    verify: Verify
    folder: Traversable

    @property
    def family(self) -> str:
        """Family of the response of the main model."""
        return str(self.models[0].arguments.get("family", "gaussian"))

    @property
    def licence(self) -> str:
        """On what terms the data can be had."""
        return self.source.licence

    @property
    def at_hand(self) -> bool:
        """Whether the data are here and need no download."""
        return self.source.at_hand(self.folder)

    def data(self) -> pd.DataFrame:
        """The data.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        DatasetError
            If they are not here and cannot be downloaded.
        DataError
            If the file cannot be read, or has not the columns that the card names.
        """
        data, group = self.source.load(self.folder), self.verify.group
        if group is not None and group not in data:
            raise DataError(
                f"{self.name}/{CARD} [verify]: 'group' is {group!r}, which is no column of the data. "
                f"{suggest(group, map(str, data.columns))}"
            )
        return data

    def candidate(self, formula: str | int | None = None) -> Candidate:
        """One of the models.

        Parameters
        ----------
        formula : str or int, optional
            Its name, its formula or its number, counted from 0; by default the main one.

        Returns
        -------
        Candidate

        Raises
        ------
        FormulaError
            If the card has no such model.
        """
        if formula is None:
            return self.models[0]
        for number, candidate in enumerate(self.models):
            counted = isinstance(formula, int) and not isinstance(formula, bool) and formula == number
            if counted or formula in (candidate.name, candidate.formula):
                return candidate
        raise FormulaError(
            f"The card {self.name!r} has no model {formula!r}. {suggest(str(formula), [m.name for m in self.models])}"
        )

    def targets(self, candidate: Candidate) -> tuple[str, ...]:
        """What is left out to score a model: nothing without a posterior, and no group where there are none.

        Parameters
        ----------
        candidate : Candidate

        Returns
        -------
        tuple of {"row", "group"}
        """
        grouped = "|" in candidate.formula
        return tuple(t for t in self.verify.elpd if candidate.posterior and (t == "row" or grouped))

    def model(self, formula: str | int | None = None) -> Model:
        """One of the models with its data.

        Parameters
        ----------
        formula : str or int, optional
            As of `candidate`.

        Returns
        -------
        Model

        Raises
        ------
        FormulaError, DatasetError
        """
        return self.candidate(formula).model(self.data())

    def table(self) -> pd.DataFrame:
        """The models that compete.

        Returns
        -------
        pandas.DataFrame
            Columns name, formula, why.
        """
        import pandas as pd

        return pd.DataFrame([(m.name, m.formula, m.why) for m in self.models], columns=["name", "formula", "why"])

    def as_dict(self) -> dict[str, Any]:
        """All of it in plain values, as for JSON.

        Returns
        -------
        dict
        """
        return {
            "name": self.name,
            "title": self.title,
            "question": self.question,
            "topics": [*self.topics],
            "family": self.family,
            "data": {"name": self.source.name, "source": self.source.source, "licence": self.licence},
            "models": [
                {
                    "name": m.name,
                    "formula": m.formula,
                    "why": m.why,
                    "arguments": dict(m.arguments),
                    "priors": dict(m.priors),
                }
                for m in self.models
            ],
            "look_for": [*self.look_for],
            "references": [*self.references],
        }

    def text(self, width: int = WIDTH) -> str:
        """All of it as lines of text.

        Parameters
        ----------
        width : int, default 100
            Characters of a line.

        Returns
        -------
        str
        """

        def put(text: str, first: str = "", later: str | None = None) -> None:
            rest = first if later is None else later
            lines.extend(textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest))

        lines: list[str] = []
        put(self.title)
        lines.append("=" * max(map(len, lines)))
        put(self.question)
        lines.append("")
        for m in self.models:
            given = "".join(f", {key}={value!r}" for key, value in m.arguments.items())
            put(f"{m.name}: {m.formula}{given}", "", "    ")
            put(m.why, "    ")
            for name, prior in m.priors.items():
                put(f"prior of {name}: {prior}", "    ", "      ")
        lines += ["", "What to look for:"]
        for sentence in self.look_for:
            put(sentence, "  - ", "    ")
        lines.append("")
        put(f"Data: {self.source.source}. {self.licence}.")
        lines += ["", "References:"]
        for reference in self.references:
            put(reference, "  - ", "    ")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        about = {"topics": ", ".join(self.topics), "data": self.source.name, "licence": self.licence}
        return document(
            self.title,
            self.question,
            table(self.table(), "models"),
            *self.look_for,
            facts(about),
            *self.references,
        )


def read_card(folder: Traversable) -> Card:
    """Read the card of a folder.

    Parameters
    ----------
    folder : Traversable or pathlib.Path

    Returns
    -------
    Card

    Raises
    ------
    DataError
        One sentence that names the file, the key and what is wrong with it.
    """
    where = f"{folder.name}/{CARD}"
    try:
        values = tomllib.loads(folder.joinpath(CARD).read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f"There is no file {CARD} in {folder}.") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{where} is not TOML: {error}.") from None
    keys = Keys(where, values)
    card = Card(
        name=folder.name,
        title=keys.text("title"),
        question=keys.text("question"),
        topics=keys.texts("topics"),
        look_for=keys.texts("look_for"),
        references=keys.texts("references"),
        source=read_source(keys.table("data")),
        models=_candidates(keys),
        verify=_verify(keys.table("verify", {})),
        folder=folder,
    )
    keys.finish()
    return card


def _candidates(keys: Keys) -> tuple[Candidate, ...]:
    shared = keys.table("arguments", {})
    common, nagq = _arguments(shared), shared.number("nagq", 1)
    shared.finish()
    found = []
    for own in keys.tables("models"):
        candidate = Candidate(
            name=own.text("name"),
            formula=own.text("formula"),
            why=own.text("why"),
            arguments=common | _arguments(own),
            priors=own.get("priors", Mapping, {}),
            nagq=own.number("nagq", nagq),
            posterior=own.get("posterior", bool, True),
        )
        own.finish()
        for name, text in candidate.priors.items():
            plain_prior(name, str(text))
        found.append(candidate)
    names = [candidate.name for candidate in found]
    if len(set(names)) < len(names):
        raise DataError(f"{keys.where} has two [[models]] with the same name; give each its own.")
    return tuple(found)


def _arguments(keys: Keys) -> dict[str, Any]:
    kinds = {name: bool if name == "center_predictors" else str for name in ARGUMENTS}
    return {name: keys.get(name, kinds[name]) for name in ARGUMENTS if name in keys.given}


def _verify(keys: Keys) -> Verify:
    usual = Verify()
    found = Verify(
        draws=keys.number("draws", usual.draws),
        elpd=keys.texts("elpd", usual.elpd, TARGETS),
        group=keys.text("group", None),
        tolerance=keys.real("tolerance", usual.tolerance),
    )
    if found.tolerance <= 0.0:
        raise DataError(f"{keys.where}: 'tolerance' is {found.tolerance!r}; it should be positive.")
    keys.finish()
    return found

r"""A planned study, and how to simulate it.

A simulated study has predictors x* as planned, parameters as given or drawn, and the response

    y* = X*β + offset + Z*b* + ε*,      b*_j ~ N(0, Σ),      ε* ~ N(0, σ² W^{-½} R W^{-½})

of `hierbayes.inference.simulation`. Study k of design d draws all this from
``numpy.random.SeedSequence(seed, spawn_key=(d, k))`` alone, so that it is the same however many are simulated, in
whatever order and by whichever process.

Reading a formula takes longer than fitting the model. Studies that have the same predictors share one design. Where
predictors are drawn, the formula is evaluated on the rows of many studies at once, if its columns depend on one row
at a time; a function that looks at other rows, such as ``scale(x)``, makes the formula be read for each study alone,
and so does a study whose columns are not those of a study as planned.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd

from hierbayes.design import Design
from hierbayes.errors import DataError
from hierbayes.inference.simulation import assemble, new_effects, residuals
from hierbayes.moments import take_moments
from hierbayes.refits import Refitter
from hierbayes.specification import Specification, specify
from hierbayes.study.grid import Grid
from hierbayes.study.truth import RHO, SIGMA, Key, Truth, arrays
from hierbayes.study.verdict import Study

ROW_WISE = frozenset({"abs", "sqrt", "square", "exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tanh"})
"""Functions of numpy that look at one row at a time."""
DEPENDENT = 1e-10
"""Least eigenvalue of the products of columns of length one, below which a study is read for itself."""
Parameters = tuple[dict[Key, float], np.ndarray, np.ndarray]
"""By name; fixed effects (p,); a factor (q, q) of the covariance matrix of the random effects."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A study as planned.

    Parameters
    ----------
    point : int
        Its number among the designs that are compared.
    template : Specification
        Of a study like those to be simulated; its response means nothing.
    truth : Truth
    seed : int
    grid : Grid or None
        Where predictors are drawn; None if those of the template are those of all.
    """

    point: int
    template: Specification
    truth: Truth
    seed: int
    grid: Grid | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone, for other processes."""
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    @cached_property
    def _refitter(self) -> Refitter:
        design = self.template.design
        return Refitter(design, take_moments(design))

    @cached_property
    def _together(self) -> bool:
        """Whether the formula can be evaluated on the rows of many studies at once."""
        if self.template.residual is not None:
            return False
        called = re.findall(r"([\w.]+)\s*\(", self.template.formula.split("~", 1)[1])
        for name in called:
            bare = name.removeprefix("np.")
            known = self.template.namespace | {f"np.{bare}": getattr(self.template.namespace["np"], bare, None)}
            if bare not in ROW_WISE or known.get(name) is not getattr(np, bare):
                return False
        return True

    def studies(self, numbers: Sequence[int]) -> Iterator[Study | DataError]:
        """Simulate some studies.

        Parameters
        ----------
        numbers : sequence of int

        Yields
        ------
        Study or DataError
            The error says why a study cannot be simulated or analysed as planned, such as a category that nobody
            drew, or a correlation that cannot be.
        """
        if self.grid is None:
            for number in numbers:
                yield self._respond(number, self._stream(number), self.template.design, self._planned, self._refitter)
            return
        streams = [self._stream(number) for number in numbers]
        columns = [self.grid.draw(rng) for rng in streams]
        frames = [partial(self._frame, each) for each in columns]
        for number, rng, made, frame in zip(numbers, streams, self._designs(columns, frames), frames, strict=True):
            yield made if isinstance(made, DataError) else self._respond(number, rng, made, frame)

    def study(self, number: int) -> Study:
        """Simulate one study.

        Raises
        ------
        DataError
            If it cannot be analysed as planned.
        """
        (found,) = self.studies([number])
        if isinstance(found, DataError):
            raise found
        return found

    def _stream(self, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.point, number)))

    def _planned(self) -> pd.DataFrame:
        return self.template.data

    def _frame(self, columns: dict[str, np.ndarray]) -> pd.DataFrame:
        """Rows of a study whose predictors are drawn."""
        assert self.grid is not None
        response = {self.template.design.response: self.template.design.y}
        return pd.DataFrame({**response, **self.grid.fixed, **columns})

    def _designs(self, columns: list[dict[str, np.ndarray]], frames: list[Any]) -> Iterator[Any]:
        """Design of every study, or what is wrong with it."""
        made: list[Any] = self._evaluated(columns) if self._together else [None] * len(columns)
        for design, frame in zip(made, frames, strict=True):
            yield self._read(frame()) if design is None or _deficient(design) else design

    def _evaluated(self, columns: list[dict[str, np.ndarray]]) -> list[Design | None]:
        """Designs of many studies from as few evaluations of the formula as there can be; None where it fails."""
        try:
            return [*self._stacked(columns)]
        except DataError:
            half = len(columns) // 2
            return [*self._evaluated(columns[:half]), *self._evaluated(columns[half:])] if half else [None]

    def _stacked(self, columns: list[dict[str, np.ndarray]]) -> list[Design]:
        """Designs of many studies from one evaluation of the formula."""
        assert self.grid is not None
        k, base = len(columns), self.template.design
        stacked = {name: np.tile(values, k) for name, values in self.grid.fixed.items()}
        stacked |= {name: np.concatenate([each[name] for each in columns]) for name in columns[0]}
        stacked.setdefault(base.response, np.zeros(k * base.n))
        rows = self.template.new_rows(pd.DataFrame(stacked), response=True)
        if not rows.complete.all():
            raise DataError(f"The predictor {rows.incomplete[0]!r} was drawn with missing values.")
        X = rows.X.reshape(k, base.n, -1)
        Z = [z.reshape(k, base.n, -1) for z in rows.Z]
        offset = None if rows.offset is None else rows.offset.reshape(k, -1)
        weights = None if rows.weights is None else rows.weights.reshape(k, -1)
        return [
            replace(
                base,
                X=X[i],
                blocks=tuple(replace(block, Z=z[i]) for block, z in zip(base.blocks, Z, strict=True)),
                offset=None if offset is None else offset[i],
                weights=None if weights is None else weights[i],
            )
            for i in range(k)
        ]

    def _read(self, frame: pd.DataFrame) -> Design | DataError:
        """The design of one study, from its own formula."""
        s = self.template
        try:
            design = specify(
                s.formula, frame, weights=s.weights, se=s.se, residual=s.residual, namespace=s.namespace
            ).design
        except DataError as error:
            return error
        if design.n_dropped:
            return DataError(f"The study drawn has missing values in {', '.join(design.dropped_columns)}.")
        if design.labels != s.design.labels or design.effect_labels != s.design.effect_labels:
            lost = sorted({*s.design.labels, *s.design.effect_labels} ^ {*design.labels, *design.effect_labels})
            return DataError(f"The study drawn does not have the coefficients planned: {', '.join(lost)}.")
        return replace(design, formula=s.design.formula)

    @cached_property
    def _constant(self) -> Parameters:
        """Parameters of every study, where they do not differ."""
        truth = self.truth.draw(np.random.default_rng(0))
        return truth, *arrays(truth, self.template.design)

    def _parameters(self, rng: np.random.Generator) -> Parameters:
        if not self.truth.random:
            return self._constant
        truth = self.truth.draw(rng)
        return truth, *arrays(truth, self.template.design)

    def _respond(
        self, number: int, rng: np.random.Generator, design: Design, frame: Any, refitter: Refitter | None = None
    ) -> Study | DataError:
        """A study with a response to its design, or why its parameters are none."""
        try:
            parameters = self._parameters(rng)
        except DataError as error:
            return error
        seed = np.random.SeedSequence(self.seed, spawn_key=(self.point, number, 1))
        y = response(design, parameters, rng)
        if refitter is None:
            design = replace(design, y=y)
        else:  # a copy keeps what the design has worked out
            design = copy.copy(design)
            object.__setattr__(design, "y", y)
        return Study(self.point, number, design, parameters[0], seed, self.template, frame, refitter)


def _deficient(design: Design) -> bool:
    """Whether columns are zero, or depend on each other, as where a category is missing."""
    lengths = np.linalg.norm(design.X, axis=0)
    if not lengths.all() or not all(block.Z.any(axis=0).all() for block in design.blocks):
        return True
    scaled = design.X / lengths
    return bool(len(lengths)) and bool(np.linalg.eigvalsh(scaled.T @ scaled)[0] < DEPENDENT)


def response(design: Design, parameters: Parameters, rng: np.random.Generator) -> np.ndarray:
    """Draw a response (n,) to a design."""
    truth, beta, L = parameters
    effects = new_effects(design, L[None], rng)
    sigma = truth[SIGMA] if design.sigma is None else design.sigma
    z = rng.standard_normal((1, design.n))
    e = residuals(design, z, np.array([sigma]), np.array([truth.get(RHO, 0.0)]))
    drawn: np.ndarray = assemble(design, beta[None], effects, e)[0]
    return drawn

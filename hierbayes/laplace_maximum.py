r"""Maximum likelihood by Laplace or by adaptive Gauss-Hermite quadrature.

The log likelihood of `hierbayes.laplace` is maximised by BFGS with analytic gradients, first without random effects
(a generalised linear model), then from a start that the scores of the levels suggest, and polished by Newton steps
whose Hessian is a difference of gradients. As in `hierbayes.reml` the signs of the columns of the factor are free, so
a variance of zero needs no bound, and an answer that is singular or not clearly a maximum is looked for from further
starts before it is believed.

Where a combination of predictors separates the responses (all successes here, all failures there), the likelihood
rises for ever and the coefficient has no estimate (Albert & Anderson 1984, Biometrika 71, 1-10): the search ends
where the likelihood is flat, and the message says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hierbayes.kernel_family import IDENTITY
from hierbayes.laplace import Laplace
from hierbayes.reml import SCALES, SINGULAR

STEP = 1e-4
"""Of the differences of gradients."""
GAIN = 1e-6
"""Converged means: a Newton step, of no more than a standard error, promises no more log likelihood than this."""
ITERATIONS = 300
SEPARATED = 30.0
"""A standard error of the linear predictor beyond which the data are separated: odds of e³⁰ are within reach."""
FLAT, NOTHING = 1e-9, 1e-14
"""Curvatures relative to that of each parameter by itself: flat but for differences, zero but for rounding."""
ENDLESS = 10.0
"""A standard error of the logarithm of an auxiliary parameter beyond which it has no estimate."""
SEPARATION = "the data separate along"


@dataclass(frozen=True)
class LaplaceOptimum:
    """Where the likelihood is largest, and how that was found.

    Parameters
    ----------
    x : (dim,) array
        The free parameters of `hierbayes.laplace.Laplace`.
    relative : (q, q) array
        L̃ over the spread of a response on the scale of the linear predictor.
    deviance : float
        -2 log likelihood.
    covariance : (dim, dim) array
        Inverse of the negative Hessian of the log likelihood; zero for entries on the boundary.
    gradient : float
        Largest component of the gradient of -2 log likelihood, by x.
    curvature : float
        Smallest eigenvalue of the Hessian of -2 log likelihood over the parameters that are not on the boundary.
    singular, converged : bool
    evaluations : int
        Evaluations of value and gradient.
    message : str
        In words.
    """

    x: np.ndarray
    relative: np.ndarray
    deviance: float
    covariance: np.ndarray
    gradient: float
    curvature: float
    singular: bool
    converged: bool
    evaluations: int
    message: str

    @property
    def separated(self) -> bool:
        """Whether a coefficient has no finite estimate, because a predictor separates the responses."""
        return SEPARATION in self.message


def maximise_laplace(likelihood: Laplace) -> LaplaceOptimum:
    """Find the maximum likelihood estimate.

    Parameters
    ----------
    likelihood : Laplace

    Returns
    -------
    LaplaceOptimum
    """
    with likelihood.effects.one_thread():
        return _Search(likelihood).run()


class _Search:
    """Minimise the negative log likelihood of one design."""

    def __init__(self, likelihood: Laplace) -> None:
        self.likelihood = likelihood
        p, k, dim = likelihood.p, likelihood.k, likelihood.dim
        self.entries = slice(p, dim - k)
        self.rows, self.columns = likelihood.rows, likelihood.columns
        self.scale = 1.0
        self.reach = np.ones(dim)
        self.stiffness = np.full(dim, float(likelihood.design.n))

    def value(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.likelihood.log_likelihood(x)
        return -value, -gradient

    def run(self) -> LaplaceOptimum:
        held = np.zeros(self.likelihood.dim, dtype=bool)
        held[self.entries] = True
        x, _, _ = self.descend(self.likelihood.guess(), held)
        start = self.suggest(x)
        held[:] = False
        best = self.polish(*self.descend(start, held))
        if self.smallest(best[0]) < SINGULAR or not self.convincing(*best):
            best = self.elsewhere(best, held)
        return self.judge(*self.snap(*best))

    def suggest(self, x: np.ndarray) -> np.ndarray:
        """Spread of the scores of the levels less their noise, each effect by itself (`hierbayes.reml.suggest`)."""
        likelihood = self.likelihood
        rows = likelihood.derivatives(x)
        weight = np.maximum(-rows[:, 2], 0.0)
        mean = float(weight.mean())
        self.scale = 1.0 / math.sqrt(mean) if mean > 0 else 1.0
        Z = likelihood.effects.Z
        sd, information = [], []
        for factor in likelihood.design.factors:
            where = likelihood.design.effects_of(factor)
            for z in Z[:, where].T:
                A = np.bincount(factor.codes, weight * z * z, minlength=len(factor.levels))
                c = np.bincount(factor.codes, rows[:, 1] * z, minlength=len(factor.levels))
                square = float((c * c - A).sum()) / max(float((A * A).sum()), 1e-300)
                sd.append(math.sqrt(min(max(square, 0.01 * self.scale**2), 10.0 * self.scale**2)))
                information.append(A / (1.0 + A * sd[-1] ** 2))
        x = x.copy()
        on = self.rows == self.columns
        x[self.entries] = np.where(on, np.array(sd)[self.rows], 0.0)
        stiff = [
            max((2.0 if i == j else 1.0) * sd[j] ** 2 * float(information[i] @ information[j]), 1e-2 / self.scale**2)
            for i, j in zip(self.rows, self.columns, strict=True)
        ]
        self.stiffness[: likelihood.p] = max(float(np.sum(weight)), 1e-3)
        self.stiffness[self.entries] = stiff
        self.reach[: self.entries.stop] = 2.0 * self.scale
        return x

    def descend(self, x: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """BFGS from x; `held` entries stay."""
        value, gradient = self.value(x)
        gradient = np.where(held, 0.0, gradient)
        inverse = np.diag(1.0 / self.stiffness)
        fresh = True
        for _ in range(ITERATIONS):
            direction = np.where(held, 0.0, -inverse @ gradient)
            slope = float(direction @ gradient)
            if -slope <= 1e-3 * GAIN and np.isfinite(value):
                break
            direction /= max(1.0, float((np.abs(direction) / np.maximum(self.reach, np.abs(x))).max()))
            slope = float(direction @ gradient)
            length, found = 1.0, False
            for _ in range(30):
                new = x + length * direction
                new_value, new_gradient = self.value(new)
                if new_value <= value + 1e-4 * length * slope:
                    found = True
                    break
                rise = new_value - value - length * slope
                length *= min(max(-0.5 * length * slope / rise, 0.1), 0.5) if np.isfinite(rise) else 0.1
            if not found:
                if fresh:
                    break
                inverse, fresh = np.diag(1.0 / self.stiffness), True
                continue
            new_gradient = np.where(held, 0.0, new_gradient)
            s, y = new - x, new_gradient - gradient
            x, value, gradient = new, new_value, new_gradient
            product = float(s @ y)
            if product > 1e-12 * float(np.linalg.norm(s) * np.linalg.norm(y)):
                if fresh and length == 1.0:
                    inverse = inverse * (product / float(y @ inverse @ y))
                fresh = False
                turn = np.eye(len(x)) - np.outer(s, y) / product
                inverse = turn @ inverse @ turn.T + np.outer(s, s) / product
        return x, value, gradient

    def hessian(self, x: np.ndarray) -> np.ndarray:
        """Central differences of the gradient."""
        steps = STEP * np.maximum(0.5 * self.reach, np.abs(x))
        columns = [
            (self.value(x + step)[1] - self.value(x - step)[1]) / (2.0 * step.sum()) for step in np.diag(steps)
        ]
        H = np.array(columns).reshape(len(x), len(x))
        return 0.5 * (H + H.T)

    def polish(self, x: np.ndarray, value: float, gradient: np.ndarray) -> tuple:
        """Newton steps with a Hessian that is renewed where it has changed."""
        H = self.hessian(x)
        for _ in range(30):
            if not np.isfinite(H).all():
                break
            curved, V = np.linalg.eigh(H / np.sqrt(np.outer(self.stiffness, self.stiffness)))
            curved = np.maximum(np.abs(curved), 1e-6)
            scaled = gradient / np.sqrt(self.stiffness)
            step = -(V @ ((V.T @ scaled) / curved)) / np.sqrt(self.stiffness)
            gain = -0.5 * float(step @ gradient)
            step /= max(1.0, float((np.abs(step) / np.maximum(self.reach, np.abs(x))).max()))
            for _ in range(8):
                new = x + step
                new_value, new_gradient = self.value(new)
                smaller = float(np.abs(new_gradient).max(initial=0.0)) < float(np.abs(gradient).max(initial=0.0))
                if new_value < value or (smaller and new_value <= value + 1e-10 * (1.0 + abs(value))):
                    break
                step *= 0.25
            else:
                break
            x, value, gradient = new, new_value, new_gradient
            if gain <= 1e-18 * (1.0 + abs(value)):
                break
            if gain > 1e-8:
                H = self.hessian(x)
        return x, value, gradient, self.hessian(x)

    def elsewhere(self, best: tuple, held: np.ndarray) -> tuple:
        """The lowest minimum from several starts, or the one at hand if that is as low."""
        on = self.rows == self.columns
        starts = []
        for diagonal, below in ((None, 0.0), (0.3, 0.3), (0.3, -0.3)):
            scales = SCALES[:4] if diagonal is None else (diagonal,)
            tried: list[tuple[float, int, np.ndarray]] = []
            for scale in scales:
                x = best[0].copy()
                x[self.entries] = self.scale * np.where(on, scale, below * scale)
                tried.append((self.value(x)[0], len(tried), x))
            starts.append(min(tried)[2])
            if on.all():
                break
        for start in starts:
            found = self.descend(start, held)
            if found[1] < best[1] - 1e-9 or not np.isfinite(best[1]):
                best = self.polish(*found)
        return best

    def relative(self, x: np.ndarray) -> np.ndarray:
        """Factor of the covariance of the effects of a level, relative to the scale of η."""
        return self.likelihood.split(x)[1] / self.scale

    def smallest(self, x: np.ndarray) -> float:
        """Smallest relative standard deviation of the effects of a level, in any direction."""
        return float(np.linalg.svd(self.relative(x), compute_uv=False)[-1])

    def snap(self, x: np.ndarray, value: float, gradient: np.ndarray, H: np.ndarray) -> tuple:
        """Put entries that are zero but for the tolerance exactly on the boundary."""
        rounded = x.copy()
        entries = rounded[self.entries]
        entries[np.abs(entries) < SINGULAR * self.scale] = 0.0
        if np.array_equal(rounded, x):
            return x, value, gradient, H
        new_value, new_gradient = self.value(rounded)
        if not new_value <= value + 1e-9 * (1.0 + abs(value)):
            return x, value, gradient, H
        return rounded, new_value, new_gradient, self.hessian(rounded)

    def _free(self, x: np.ndarray) -> np.ndarray:
        """Parameters that are not on the boundary."""
        free = np.ones(len(x), dtype=bool)
        on = self.rows == self.columns
        free[self.entries] = ~(on & (x[self.entries] == 0.0))
        return free

    def _scaled(
        self, x: np.ndarray, gradient: np.ndarray, H: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradient and Hessian over the free parameters, in units in which curvatures are about 1, and the units."""
        free = self._free(x)
        units = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(H)), 0.1 * self.stiffness))[free]
        return units * gradient[free], units[:, None] * H[np.ix_(free, free)] * units, units

    def convincing(self, x: np.ndarray, value: float, gradient: np.ndarray, H: np.ndarray) -> bool:
        """Whether gradient and curvature are those of a minimum."""
        if not (np.isfinite(value) and np.isfinite(H).all()):
            return False
        g, S, _ = self._scaled(x, gradient, H)
        curved, V = np.linalg.eigh(S)
        on_edge = np.diag(H)[~self._free(x)]
        along = np.abs(V.T @ g)
        gain = float(np.minimum(0.5 * along**2 / np.maximum(curved, NOTHING), along).sum())
        return bool(curved[0] > -1e-4 and gain <= GAIN and (on_edge > -1e-3 / self.scale**2).all())

    def judge(self, x: np.ndarray, value: float, gradient: np.ndarray, H: np.ndarray) -> LaplaceOptimum:
        """Say what was found."""
        likelihood = self.likelihood
        converged = self.convincing(x, value, gradient, H)
        singular = self.smallest(x) < SINGULAR
        free = self._free(x)
        covariance = np.full((len(x), len(x)), np.nan)
        slope = curvature = math.nan
        endless = None
        if np.isfinite(H).all():
            slope = 2.0 * float(np.abs(gradient[free]).max(initial=0.0))
            curvature = 2.0 * float(np.linalg.eigvalsh(H[np.ix_(free, free)]).min(initial=math.inf))
            _, S, units = self._scaled(x, gradient, H)
            curved, V = np.linalg.eigh(S)
            # on the boundary a correlation may be arbitrary; a coefficient never is
            random = (V[np.isin(np.flatnonzero(free), np.arange(len(x))[self.entries])] ** 2).sum(axis=0)
            kept = (curved > FLAT) | (random < 0.5)
            curved = np.maximum(curved, NOTHING)
            covariance[np.ix_(free, free)] = units[:, None] * ((V[:, kept] / curved[kept]) @ V[:, kept].T) * units
            covariance[~free] = covariance[:, ~free] = 0.0
            endless = self._endless(covariance)
        if endless is not None:
            converged = False
            message = f"not converged: {endless}"
        elif converged:
            message = "converged"
        else:
            message = f"not converged: largest gradient {slope:.2g}, smallest curvature {curvature:.2g}"
        if singular:
            message += "; singular: the estimate lies on the boundary of the parameter space"
        return LaplaceOptimum(
            x, self.relative(x), 2.0 * value, covariance, slope, curvature, singular, converged,
            likelihood.evaluations, message,
        )  # fmt: skip

    def _endless(self, covariance: np.ndarray) -> str | None:
        """A parameter along which the likelihood is flat as far as it goes, in words, if there is one."""
        likelihood = self.likelihood
        p, k, labels = likelihood.p, likelihood.k, likelihood.design.labels
        if not np.isfinite(covariance).all():
            return None
        if k and not likelihood.thresholds:
            errors = np.sqrt(np.diag(covariance)[-k:])
            if errors.max() > ENDLESS:
                name = likelihood.auxiliary_names[int(errors.argmax())]
                return f"{name!r} has no finite estimate, a simpler family fits as well"
        if p and likelihood.link != IDENTITY:
            spread, V = np.linalg.eigh(covariance[:p, :p])
            if spread[-1] > SEPARATED**2:
                reach = np.abs(likelihood.beta_of_gamma @ V[:, -1]) * np.abs(likelihood.design.X).max(axis=0)
                if likelihood.design.intercept is not None and p > 1:
                    reach[likelihood.design.intercept] = 0.0
                return (
                    f"{SEPARATION} {labels[int(reach.argmax())]!r}, whose coefficient grows without end; "
                    "take it out, or fit the posterior with a proper prior"
                )
        return None

r"""The marginal likelihood of a model of any family, by Laplace or by adaptive Gauss-Hermite quadrature.

With û the mode of the random effects, h and W as in `hierbayes.laplace_mode`, the Laplace approximation is

    log p(y | β, L, ψ) ≈ f = h(û) - ½ log|W|

(Tierney & Kadane 1986, Journal of the American Statistical Association 81, 82-86; for mixed models Breslow & Clayton
1993, ibid. 88, 9-25). W has the observed information; where the link is not canonical lme4 takes the expected one,
which is not quite the Laplace approximation. The gradient follows by implicit differentiation, as û moves with the
parameters (Skaug & Fournier 2006, Computational Statistics & Data Analysis 51, 699-709). With s_i the variance of η_i
given y and

    t_i = ½ ℓ'''_i s_i,      W w = Λᵀ Zᵀ t,      a = Z Λ w,      e_i = ℓ'_i + t_i + ℓ''_i a_i

it is, with z_i, u_j and w_j the parts of row i and of its level j that belong to a factor,

    ∂f/∂β = Xᵀ e,      ∂f/∂ψ = Σ (∂ℓ_i/∂ψ + a_i ∂ℓ'_i/∂ψ + ½ s_i ∂ℓ''_i/∂ψ)
    ∂f/∂L = Σ_i (e_i z_i u_jᵀ + ℓ'_i z_i w_jᵀ) - ½ ∂log|W|/∂L at fixed D

Quadrature is in `hierbayes.kernel_hermite`.

The free parameters x of `Laplace` are coefficients γ, the free entries of the factor L̃ of the covariance of the
random effects, and the auxiliary parameters, positive ones as logarithms and thresholds as the first and the
logarithms of the gaps. As in `hierbayes.moments` the coordinates are such that nothing is large or nearly collinear:
``X β = √n Q γ`` with orthonormal Q, and ``Z b = Z̃ b̃`` with ``Z̃ᵀ Z̃ = n I`` in a correlated block (only rescaled in an
uncorrelated one); where thresholds take the place of the intercept, they are those at the mean of the predictors.
A variance of zero is an interior point of x: the signs of the columns of L̃ are free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from hierbayes import kernel_family as family
from hierbayes.design import Design
from hierbayes.errors import HierbayesError
from hierbayes.kernel_hermite import hermite
from hierbayes.kernel_laplace import pull_factor
from hierbayes.laplace_mode import Effects, Response
from hierbayes.moments import orthonormal, triangle

MOST_NODES = 100
"""Of the quadrature."""


@dataclass(frozen=True)
class Modes:
    """The random effects given the data and all parameters.

    Parameters
    ----------
    means : list of (levels, effects) array
        Conditional modes, one a grouping factor of the design.
    covariances : list of (levels, effects, effects) array
        Inverse curvature there.
    eta : (n,) array
        Linear predictor at the modes.
    """

    means: list[np.ndarray]
    covariances: list[np.ndarray]
    eta: np.ndarray


def check_supported(design: Design, nagq: int) -> None:
    """Refuse what these approximations do not know.

    Parameters
    ----------
    design : Design
    nagq : int
        Number of nodes.

    Raises
    ------
    ValueError
        If `nagq` is not a whole number from 1 to 100.
    HierbayesError
        For another family, link or kind of response, or for quadrature over more than one effect.
    """
    if not (isinstance(nagq, (int, np.integer)) and 1 <= nagq <= MOST_NODES):
        raise ValueError(f"nagq must be a whole number from 1 to {MOST_NODES}, not {nagq!r}")
    named, link = design.family.name, design.family.link
    known = family.ALLOWED.get(family.KINDS.get(named, -1), ())
    if family.LINKS.get(link, -1) not in known or design.family.response != "plain":
        raise HierbayesError(
            f"Maximum likelihood does not know {design.family}; it knows "
            + ", ".join(f"{name} ({'/'.join(_links(kind))})" for name, kind in family.KINDS.items())
            + ". The posterior does: model.fit()."
        )
    if design.residual is not None:
        raise HierbayesError(
            f"Correlated residuals, {design.residual.text}, need a Gaussian response with the identity link."
        )
    if design.weights is not None and named != "gaussian":
        raise HierbayesError(f"weights= divide the variance of Gaussian residuals; {named} responses have none.")
    if not design.blocks:
        raise HierbayesError("The formula has no random effects; fit a generalised linear model instead.")
    if nagq > 1 and (len(design.factors) > 1 or design.layout.q > 1):
        raise HierbayesError(
            f"nagq={nagq} integrates over one random effect for each level of one grouping factor; the model has "
            f"{design.layout.q} for {design.levels}. Use nagq=1."
        )


def _links(kind: int) -> list[str]:
    return [name for name, link in family.LINKS.items() if link in family.ALLOWED[kind] and name != "inverse_power"]


class Laplace:
    """Log likelihood of a design as a function of its free parameters.

    Parameters
    ----------
    design : Design
    nagq : int, default 1
        Nodes of the quadrature; 1 is the Laplace approximation.

    Raises
    ------
    ValueError, HierbayesError
        As of `check_supported`, and for crossed factors that leave too many effects for a dense matrix.
    DataError
        If columns of the fixed or of the random effects are linearly dependent.

    Attributes
    ----------
    p, k : int
        Fixed effects; auxiliary parameters to estimate.
    rows, columns : int arrays
        Free entries of L̃.
    dim : int
        Length of x.
    """

    def __init__(self, design: Design, nagq: int = 1) -> None:
        check_supported(design, nagq)
        self.design, self.nagq = design, int(nagq)
        n, self.p = design.X.shape
        y = np.ascontiguousarray(design.y, dtype=float)
        size = design.trials if design.trials is not None else design.weights
        size = np.ones(n) if size is None else np.ascontiguousarray(size, dtype=float)
        self.kind = family.KINDS[design.family.name]
        self.link = family.LINKS[design.family.link]
        self.response = Response(self.kind, self.link, y, size)
        self.constant = float(family.constants(self.kind, y, size).sum())
        self.offset = np.zeros(n) if design.offset is None else design.offset.astype(float)
        self.rows, self.columns = np.nonzero(design.layout.mask)
        self.thresholds = self.kind == family.CUMULATIVE
        self.k = len(self.auxiliary_names)
        self.dim = self.p + len(self.rows) + self.k
        self.center = design.X.mean(axis=0) if self.thresholds else np.zeros(self.p)
        self.X, self.beta_of_gamma = design.X, np.zeros((self.p, self.p))
        if self.p:
            Q, R = orthonormal(design.X - self.center, design.labels, "fixed effects")
            self.beta_of_gamma = np.linalg.inv(R) * math.sqrt(n)
            self.X = Q * math.sqrt(n)
        Z, self.units = self._effects()
        self.effects = Effects(design, Z)
        self._start = np.zeros(self.effects.size)
        nodes, weights = np.polynomial.hermite_e.hermegauss(self.nagq)
        self._nodes, self._log_weights = nodes, np.log(weights / weights.sum())
        self.evaluations = 0

    @property
    def auxiliary_names(self) -> list[str]:
        """Names of the auxiliary parameters to estimate."""
        design = self.design
        if self.thresholds:
            assert design.categories is not None
            return [f"threshold[{number}]" for number in range(len(design.categories) - 1)]
        return list(design.family.auxiliary) if design.sigma is None else []

    def _effects(self) -> tuple[np.ndarray, np.ndarray]:
        """Z̃, and the change from b̃ to b."""
        design = self.design
        Z = np.concatenate([block.Z for block in design.blocks], axis=1)
        E = np.zeros((design.layout.q, design.layout.q))
        for part in design.parts:
            R = triangle(Z[:, part.where], part.block.labels, f"random effects of {part.factor.name!r}")
            R = R / math.sqrt(design.n)
            E[part.where, part.where] = R if part.block.correlated else np.diag(np.sqrt((R**2).sum(axis=0)))
        units = np.linalg.inv(E)
        return Z @ units, units

    def split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coefficients γ, factor L̃ and auxiliary parameters of x, thresholds at the mean of the predictors."""
        q = self.design.layout.q
        L = np.zeros((q, q))
        L[self.rows, self.columns] = x[self.p : self.dim - self.k]
        psi = x[self.dim - self.k :]
        with np.errstate(over="ignore"):  # where it is infinite, so is the deviance
            if self.thresholds:
                auxiliary = np.cumsum(np.concatenate([psi[:1], np.exp(psi[1:])]))
            else:
                auxiliary = np.exp(psi) if self.k else np.array([self.design.sigma or 1.0])
        return np.ascontiguousarray(x[: self.p]), L, auxiliary

    def shift(self, x: np.ndarray) -> float:
        """Linear predictor at the mean of the predictors, where thresholds take the place of the intercept."""
        return float(self.center @ self.beta_of_gamma @ x[: self.p])

    def auxiliary(self, x: np.ndarray) -> np.ndarray:
        """Auxiliary parameters on their natural scale, known ones included."""
        return self.split(x)[2] + self.shift(x)

    def free(self, auxiliary: np.ndarray) -> np.ndarray:
        """The inverse of `auxiliary` where coefficients are zero."""
        if self.thresholds:
            return np.concatenate([auxiliary[:1], np.log(np.diff(auxiliary))])
        return np.log(auxiliary[: self.k])

    def log_likelihood(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Approximate log likelihood and its gradient.

        Parameters
        ----------
        x : (dim,) array

        Returns
        -------
        value : float
            -∞ where there is no such model.
        gradient : (dim,) array
        """
        self.evaluations += 1
        gamma, L, auxiliary = self.split(x)
        nothing = -math.inf, np.zeros(self.dim)
        if not (np.isfinite(x).all() and np.isfinite(auxiliary).all()):
            return nothing
        if not self.thresholds and auxiliary.min() <= 0.0:
            return nothing
        fixed = self.offset + self.X @ gamma
        found = self._mode(fixed, L, auxiliary)
        if found is None:
            return nothing
        u, eta = found
        total, rows = self.response.log_densities(eta, auxiliary, self.k)
        if self.nagq == 1:
            value, e, L_bar, auxiliary_bar = self._laplace(L, u, total, rows)
        else:
            value, e, L_bar, auxiliary_bar = self._hermite(fixed, L, auxiliary, u, rows)
        if not np.isfinite(value):
            return nothing
        self._start = u
        if self.thresholds:  # of τ_1 and of the logarithms of the gaps
            upward = np.cumsum(auxiliary_bar[::-1])[::-1]
            auxiliary_bar = upward * np.concatenate([[1.0], np.diff(auxiliary)])
        return value + self.constant, np.concatenate([self.X.T @ e, L_bar[self.rows, self.columns], auxiliary_bar])

    def _mode(self, fixed: np.ndarray, L: np.ndarray, auxiliary: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """û, sought from the last one and then from zero, and the linear predictor there."""
        found = self.effects.mode(self.response, fixed, L, auxiliary, self._start)
        return found or self.effects.mode(self.response, fixed, L, auxiliary, np.zeros(self.effects.size))

    def _laplace(
        self, L: np.ndarray, u: np.ndarray, total: float, rows: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """The approximation and its derivatives by η, L and ψ."""
        effects = self.effects
        curved = effects.curvature(L, rows)
        value = total - 0.5 * float(u @ u) - 0.5 * curved.logdet
        turn = 0.5 * rows[:, 3] * curved.spread
        w = effects.solve(L, -rows[:, 2], turn) if np.isfinite(curved.logdet) else None
        if w is None:
            return -math.inf, turn, L, rows[0, 4::3]
        moved = effects.predict(L, w)
        e = rows[:, 1] + turn + rows[:, 2] * moved
        L_bar = -0.5 * curved.L_bar
        pull_factor(effects.Z, effects.blocks, effects.where, e, u, rows[:, 1].copy(), w, L_bar)
        auxiliary_bar = rows[:, 4::3].sum(axis=0) + moved @ rows[:, 5::3] + 0.5 * (curved.spread @ rows[:, 6::3])
        return value, e, L_bar, auxiliary_bar

    def _hermite(
        self, fixed: np.ndarray, L: np.ndarray, auxiliary: np.ndarray, u: np.ndarray, rows: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """The same by quadrature."""
        r, column = self.response, self.effects.Z[:, 0]
        value, e, L_bar, auxiliary_bar = hermite(
            r.kind, r.link, r.y, r.size, fixed, auxiliary, column, L[0, 0], self.effects.where[0], self._nodes,
            self._log_weights, u, rows,
        )  # fmt: skip
        return value, e, np.array([[L_bar]]), auxiliary_bar

    def derivatives(self, x: np.ndarray) -> np.ndarray:
        """Log density of every row without random effects, and its first three derivatives, (n, 4)."""
        gamma, _, auxiliary = self.split(x)
        return self.response.log_densities(self.offset + self.X @ gamma, auxiliary)[1]

    def modes(self, x: np.ndarray) -> Modes:
        """Conditional modes of the random effects, in the user's units.

        Raises
        ------
        HierbayesError
            If they were not found.
        """
        gamma, L, auxiliary = self.split(x)
        found = self._mode(self.offset + self.X @ gamma, L, auxiliary)
        if found is None:
            raise HierbayesError("The mode of the random effects was not found at these parameters.")
        u, eta = found
        bar = self.effects.curvature(L, self.response.log_densities(eta, auxiliary)[1]).bar
        means, covariances = [], []
        for number, factor in enumerate(self.design.factors):
            own = self.design.effects_of(factor)
            of_levels, covariance = self.effects.of_factor(number, u, bar)
            B = self.units[own, own]
            means.append(of_levels @ (B @ L[own, own]).T)
            covariances.append(B @ covariance @ B.T)
        return Modes(means, covariances, eta + self.shift(x))

    def guess(self) -> np.ndarray:
        """Parameters to start from, without random effects: the linear predictor that each response suggests."""
        kind, y, size = self.kind, self.response.y, self.response.size
        mean = y.mean()
        auxiliary = np.ones(1)
        if kind == family.BINOMIAL:
            share = (y + 0.5) / (size + 1.0)
            eta = {family.LOGIT: np.log(share / (1 - share)), family.PROBIT: stats.norm.ppf(share)}.get(
                self.link, np.log(-np.log1p(-share))
            )
        elif kind in (family.POISSON, family.NEGATIVE_BINOMIAL):
            eta = np.log(y + 0.5)
        elif kind == family.GAMMA:
            auxiliary = np.array([1.0 / max(np.log(y).var(), 1e-3)])
            eta = np.log(y) if self.link == family.LOG else np.full(len(y), 1.0 / mean)
        elif kind == family.BETA:
            auxiliary = np.array([max(mean * (1.0 - mean) / max(y.var(), 1e-12) - 1.0, 1.0)])
            eta = np.log(y / (1.0 - y))
        elif self.thresholds:
            assert self.design.categories is not None
            below = np.cumsum(np.bincount(y.astype(int), minlength=len(self.design.categories)))[:-1]
            share = (below + 0.5 + 1e-3 * np.arange(len(below))) / (len(y) + 1.0)
            auxiliary = np.log(share / (1.0 - share)) if self.link == family.LOGIT else stats.norm.ppf(share)
            eta = np.zeros(len(y))
        else:
            eta = np.log(np.maximum(y, 0.1 * abs(mean))) if self.link == family.LOG else y
        gamma = self.X.T @ (eta - self.offset) / len(y)
        if kind in (family.GAUSSIAN, family.STUDENT):
            fitted = family.inverse_link(self.link, self.X @ gamma + self.offset)
            auxiliary = np.array([max(float(np.std(y - fitted)), 1e-300), 5.0])
        return np.concatenate([gamma, np.zeros(len(self.rows)), self.free(auxiliary)])

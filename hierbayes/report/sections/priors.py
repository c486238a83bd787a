"""The priors, where they come from, and what is done with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hierbayes import names

from ..numbers import joined, show
from ..provenance import ASKED, Run

if TYPE_CHECKING:
    from hierbayes.model import Model


def priors_section(model: Model, run: Run) -> dict[str, Any]:
    """The priors, where they come from, and what is done with them."""
    design, priors, given = model.design, model.priors, model.given_priors
    rows = []

    def add(label: str, prior: str, *keys: str) -> None:
        rows.append({"label": label, "prior": prior, "origin": "given" if set(keys) & set(given) else "automatic"})

    at = 0
    for term in design.terms:
        common = () if term.name == names.INTERCEPT else ("common",)
        for label in term.labels:
            add(label, repr(priors.coefficients[at]), term.name, *common)
            at += 1
    at = 0
    for block in design.blocks:
        of = f" of {block.factor.name}" if len(design.factors) > 1 else ""
        for term in block.terms:
            for label in term.labels:
                keys = names.effect(term.name, block.factor.name), "group_specific"
                add(f"sd({label}){of}", repr(priors.sds[at]), *keys)
                at += 1
    for part, eta in zip(design.parts, priors.eta, strict=True):
        if part.free:
            of = f" of {part.factor.name}" if len(design.factors) > 1 else ""
            many = "correlations of" if len(part.block.labels) > 2 else "correlation of"
            label = f"{many} {', '.join(part.block.labels)}{of}"
            add(label, f"LKJ(eta={eta:g})", names.corr(part.factor.name, part.number))
    if priors.sigma is not None:
        add("sigma", repr(priors.sigma), names.SIGMA)
    for name, law in priors.auxiliary.items():
        if isinstance(law, tuple):
            for k, prior in enumerate(law):
                add(f"{name}[{k}]" if design.family.ordinal else name, repr(prior), name)
        else:
            add(name, f"held at {law:g}", name)
    if design.residual is not None and priors.rho is not None:
        low, high = design.residual.bounds
        flat = f"Uniform(lower={low:.4g}, upper={high:.4g})"
        add("rho", flat if priors.rho == 1 else f"LKJ(eta={priors.rho:g})", names.RHO)
    return {
        "rows": rows,
        "kept": _kept(model),
        "centered": priors.centered and len(design.labels) > 1,
        "offset": design.offset is not None and design.family.exact,
        "exact": design.family.exact,
        "uniform": any(part.free and eta == 1 for part, eta in zip(design.parts, priors.eta, strict=True)),
        "rho": _density_of_rho(model),
        "sampling": _sampling(model) if run.marginal else _conditional_sampling(model, run),
    }


def _density_of_rho(model: Model) -> str:
    """Prior density of the residual correlation where it is not uniform, in words."""
    residual, eta = model.design.residual, model.priors.rho
    if residual is None or eta is None or eta == 1:
        return ""
    low, high = residual.bounds
    if low == -1.0:
        return f"LKJ with eta {eta:g} gives rho a density proportional to (1 − rho²) to the power of {eta - 1:g}."
    return (
        f"LKJ with eta {eta:g} gives the place of rho in its range, {show(low, 3)} to {high:g}, scaled to 0 to 1, "
        f"the density Beta({eta:g}, {eta:g})."
    )


def _sampling(model: Model) -> str:
    """What was integrated out of the likelihood and what NUTS sampled, in a sentence."""
    design, kept = model.design, _kept(model)
    every = bool(kept) and len(kept) == len(design.labels)
    parameters = [f"sd({label})" for label in design.effect_labels]
    parameters += [names.SIGMA] if design.sigma is None else []
    sampled = parameters[0] if len(parameters) == 1 else "the variance parameters"
    if design.residual is not None:
        sampled = joined([*([sampled] if parameters else []), names.RHO])
    integrated = ["the random effects"] if design.factors else []
    if not kept:
        sampled += " only"
        integrated += ["the fixed effects"] if design.labels else []
    elif every:
        sampled = f"the fixed effects and {sampled}"
    else:
        sampled += f" and the coefficients of {joined(kept)}"
        integrated.append("the fixed effects with Normal priors")
    if not integrated:
        return f"NUTS sampled {sampled}."
    words = joined(integrated)
    if len(integrated) > 1 and kept:
        words = f"{integrated[0]}, and {integrated[1]},"
    return (
        f"{words[0].upper()}{words[1:]} were integrated out of the likelihood and recovered afterwards, exactly; "
        f"NUTS sampled {sampled}."
    )


def _conditional_sampling(model: Model, run: Run) -> str:
    """What NUTS sampled where random effects were not integrated out."""
    design = model.design
    blocks = zip(design.blocks, run.parameterization.split(", "), strict=True)
    words = {"centered": "centred", "noncentered": "non-centred"}
    forms = [f"({', '.join(block.labels)} | {block.factor.name}) {words.get(form, form)}" for block, form in blocks]
    reason = re.sub(r"(^|; )[^;:]*\|[^;:]* (?:non)?centered: ", r"\1", run.reason)  # the blocks are named already
    why = "as asked for" if run.reason == ASKED else f"because {reason}"
    return f"NUTS sampled all random effects along with everything else, {joined(forms)}, {why}."


def _kept(model: Model) -> list[str]:
    """Fixed effects that could not be integrated out."""
    return [label for label, keep in zip(model.design.labels, model.priors.kept, strict=True) if keep]

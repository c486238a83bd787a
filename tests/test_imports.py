"""Layers import downward only, `import hierbayes` is light, and only the command line prints."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hierbayes

ROOT = Path(hierbayes.__file__).parent
LAYERS = [
    {"errors", "names", "densities", "threads", "progress"},
    {"output", "datasets", "bars", "interruption", "plain", "spelling", "display"},
    {
        "covariance",
        "residual",
        "groups",
        "priors",
        "family",
        "structures",
        "kernel_dense",
        "kernel_rows",
        "kernel_psis",
        "kernel_polygamma",
    },
    {"kernel_levels", "kernel_tree", "kernel_fixed", "kernel_family"},
    {"kernel_marginal", "kernel_laplace", "kernel_hermite"},
    {"kernel_descent", "kernel_profile", "kernel_left_out"},
    {"design", "implied"},
    {"forest"},
    {"moments", "series", "laws", "variation"},
    {"from_bambi"},
    {"specification"},
    {"response_law"},
    {"marginal", "laplace_mode"},
    {"op", "reml", "wald", "parameterization", "laplace", "initial"},
    {"graph", "conditional", "sampling", "recover", "diagnostics"},
    {"nuts", "estimates", "kernel_nodes", "laplace_maximum"},
    {"refits", "partial_pooling", "laplace_estimate", "linear_predictor"},
    {"pilot", "store"},
    {"evidence", "inference"},
    {"cross_validation", "variance", "predictions"},
    {"checks"},
    {"results"},
    {"model"},
    {"likelihood_ratio", "restore"},
    {"pooling_ladder", "clusters", "study", "rivals", "side_by_side", "citations"},
    {"zoo"},
    {"plots"},
    {"report"},
    {"cli"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def part_of(path):
    """The module or package right below hierbayes that a file belongs to."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """Absolute names of all modules that a file imports, at whatever depth, typing included."""
    package = ["hierbayes", *path.relative_to(ROOT).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "hierbayes" else {module}
    return found


def test_every_file_has_a_layer():
    assert {part_of(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path):
    own = part_of(path)
    used = {name.split(".")[1] for name in imports(path) if name.startswith("hierbayes.")}
    assert {name for name in used - {own} if LEVEL[name] > LEVEL[own]} == set()


def test_only_the_adapter_knows_bambi_and_formulae():
    users = {
        part_of(path) for path in FILES if {"bambi", "formulae"} & {name.split(".")[0] for name in imports(path)}
    }
    assert users == {"from_bambi"}


def test_numerics_know_no_plots_and_plots_no_report():
    for path in FILES:
        known = {name.split(".")[0] for name in imports(path)}
        if LEVEL[part_of(path)] < LEVEL["plots"]:
            allowed = {"rich"} if part_of(path) == "progress" else set()
            assert not (known & {"matplotlib", "jinja2", "typer", "rich"}) - allowed, path
        assert "matplotlib.pyplot" not in imports(path)


def test_only_the_command_line_prints():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and part_of(path) != "cli":
                assert not (isinstance(node.func, ast.Name) and node.func.id == "print"), path
                assert ast.unparse(node.func) not in ("sys.stdout.write", "sys.stderr.write"), path


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_is_light():
    heavy = (
        "('numpy', 'pandas', 'scipy', 'numba', 'pymc', 'pytensor', 'bambi', 'arviz', 'nutpie', 'matplotlib', 'typer')"
    )
    assert python(f"import sys, hierbayes; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_a_model_needs_no_plots():
    heavy = "('matplotlib', 'jinja2', 'typer', 'pymc')"
    assert python(f"import sys, hierbayes; hierbayes.Model; print([m for m in {heavy} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("first", ["import hierbayes.report.numbers", "from hierbayes.report import report", "pass"])
def test_report_is_a_function_whatever_was_imported_before(first):
    code = f"{first}\nimport hierbayes as hb\ntry:\n    hb.report(None, '/')\nexcept Exception as e:\n    print(e)"
    assert "is a folder" in python(code)


def test_every_public_name_exists():
    for name in hierbayes.__all__:
        assert getattr(hierbayes, name) is not None

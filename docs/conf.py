"""How Sphinx builds the site: `make docs`. Nothing is fetched, and nothing that it shows comes from elsewhere."""

from importlib.metadata import version as installed

from hierbayes import zoo

project = "hierbayes"
author = "The hierbayes developers"
copyright = f"2026, {author}"  # noqa: A001
version = release = installed("hierbayes")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings give types, in words
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_google_docstring = False
napoleon_use_param = False  # types are words, not links
napoleon_custom_sections = [("Attributes", "params_style")]  # several names in a line stay together
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # one-letter attributes of several classes, found in the shape of an array
pygments_style = "friendly"
pygments_dark_style = "github-dark"

html_theme = "furo"
html_title = f"hierbayes {version}"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]


def setup(app):
    """Let the page of the zoo show every card, and classes that nobody makes by hand no arguments."""
    app.connect("source-read", _with_cards)
    app.connect("autodoc-process-signature", _without_arguments)


def _without_arguments(app, what, name, it, options, signature, annotation):
    return ("", None) if what == "class" and "Made by" in (it.__doc__ or "") else None


def _with_cards(app, page, source):
    if page == "zoo":
        source[0] += "\n".join(_card(zoo.card(name)) for name in zoo.list()["name"])


def _card(card):
    """One card as Markdown."""
    lines = [f"\n## {card.title}", "", card.question, ""]
    for each in card.models:
        arguments = "".join(f", {key}={value!r}" for key, value in each.arguments.items())
        lines.append(f"- `{each.formula}`{arguments and f' with `{arguments[2:]}`'}: {each.why}")
    lines += ["", "What to look for:", "", *(f"- {sentence}" for sentence in card.look_for), ""]
    lines.append(f'`hb.zoo.load("{card.name}")` · data: {card.source.source}. {card.source.licence}.')
    return "\n".join([*lines, ""])

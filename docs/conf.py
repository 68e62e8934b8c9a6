"""How Sphinx builds the site; `avid_lab.course.site` gathers what it reads."""

import re

from docutils import nodes
from latex2mathml.converter import convert

import avid_lab
from avid_lab.shipped import shipped

project, author, version = "avid_lab", "", avid_lab.__version__
html_title, html_short_title, root_doc, language = "avid_lab", "avid_lab", "index", "en"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
include_patterns = ["index.md", "docs/**", "notebooks/*", "data/**"]
exclude_patterns = ["docs/index.md", "notebooks/source"]

nb_execution_mode = "off"  # pages show what the notebooks hold
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "attrs_inline", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing", "mystnb.unknown_mime_type"]  # links of the checkout that are no pages

autosummary_generate = True
autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": False}
autodoc_typehints = "signature"
autodoc_type_aliases = {}
napoleon_google_docstring, napoleon_numpy_docstring, napoleon_use_ivar = True, False, True
python_use_unqualified_type_names, python_maximum_signature_line_length = True, 80
add_module_names, default_role = False, "py:obj"


html_theme = "furo"
html_static_path = [str(shipped("docs", "static")), str(shipped("data", "preview"))]
html_css_files, html_js_files = ["site.css"], []
html_copy_source, html_show_sphinx, html_show_copyright = False, False, False
html_show_search_summary = False  # a page from disk may not read others
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
pygments_style, pygments_dark_style = "friendly", "github-dark"
copybutton_exclude = ".linenos, .gp, .go"

BOLD = re.compile(r'<mi mathvariant="bold">([A-Za-z])</mi>')
ESCAPED = re.compile(r"(<mo[^>]*>)\\([{}])(?=</mo>)")  # braces of a given size keep their backslash
LETTER = re.compile(r"^(\s+\w+: [A-Za-z])\.")  # "dim: D." would start a list


def bold(found: re.Match[str]) -> str:
    """Browsers ignore ``mathvariant="bold"``, but Unicode has its own bold letters."""
    letter = found[1]
    return f"<mi>{chr((0x1D400 - ord('A') if letter.isupper() else 0x1D41A - ord('a')) + ord(letter))}</mi>"


def write_formula(translator, node) -> None:
    """A formula as MathML, which browsers draw by themselves."""
    block = isinstance(node, nodes.math_block)
    formula = convert(node.astext().strip(), display="block" if block else "inline")
    formula = ESCAPED.sub(r"\1\2", BOLD.sub(bold, formula))
    translator.body.append(f'<div class="avid-formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def as_written(app, what, name, obj, options, lines: list[str]) -> None:
    """An indented block below a paragraph stays line by line, and a single letter is no number of a list."""
    for at in range(len(lines) - 3, -1, -1):
        above, blank, below = lines[at : at + 3]
        if re.match(r"(?!\.\. )\S", above) and not blank.strip() and below.startswith("    "):
            lines[at + 1 : at + 1] = ["", ".. code-block:: text"] if not above.endswith("::") else []
    lines[:] = [LETTER.sub(r"\1\\.", line) for line in lines]


def skip(app, what, name, obj, skips, options) -> bool:
    """Of what a package imports, its own names belong to its page."""
    return skips or not (getattr(obj, "__module__", None) or "avid_lab").startswith("avid_lab")


def setup(app) -> None:
    """Formulas without a script; docstrings as they are written."""
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", as_written, priority=1)  # before napoleon
    app.add_html_math_renderer("mathml", inline_renderers=(write_formula, None), block_renderers=(write_formula, None))


html_math_renderer = "mathml"

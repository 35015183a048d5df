"""How Sphinx builds the site: `python -m sphinx -W --keep-going -b html docs docs/_build/html`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import funcnet  # noqa: E402  (found by the line above)

project, author = "funcnet", "the authors of funcnet"
release = version = getattr(funcnet, "__version__", "0.2.0")

extensions = ["myst_nb", "docstrings", "links", "mathematics"]
extensions += ["mistake_pages", "networks", "rule_pages"]
exclude_patterns = ["_build", "_ext", "_vendor"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nitpicky = False

nb_execution_mode = "force"  # a cell that raises ends the build
nb_execution_raise_on_error = True
nb_execution_timeout = 180
nb_execution_show_tb = True
nb_output_stderr = "remove"  # progress

html_theme = "furo"
html_title = "funcnet"
html_static_path = ["_static", "_vendor"]
html_css_files = ["katex/katex.min.css", "funcnet.css"]
html_copy_source = False
html_show_sphinx = html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "monokai"

latex_engine = "xelatex"
latex_documents = [("index", "funcnet.tex", "funcnet: networks, and their gradients derived by hand", author, "manual")]
latex_elements = {
    "papersize": "a4paper",
    "fontpkg": r"""\setmainfont{DejaVu Serif}[Scale=0.9]
\setsansfont{DejaVu Sans}[Scale=0.9]
\setmonofont{DejaVu Sans Mono}[Scale=0.72,ItalicFont=DejaVu Sans Mono]""",
    "preamble": r"\usepackage{newunicodechar}\newunicodechar{ℓ}{\ensuremath{\ell}}",  # not in that font
    "figure_align": "H",
}

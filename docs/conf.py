"""Configuration of Sphinx for these pages: `python3 -m nox -s docs`, without a network."""

import sys
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # docstrings.py is beside this file

from aiosipcdr import CallDetailRecord, __version__
from aiosipcdr.model.records import MONEY_FIELDS

# The pages show money as `Decimal`, the bound of its type parameter.
CallDetailRecord.__annotations__ |= dict.fromkeys(MONEY_FIELDS, Decimal | None)

project = "aiosipcdr"
author = "The aiosipcdr developers"
copyright = author  # noqa: A001 - Sphinx's name for it
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "cyclopts.ext.sphinx",  # the reference of the command line is made of the commands' help
    "docstrings",
]
exclude_patterns = ["_build"]
language = "en"

myst_heading_anchors = 3
nitpicky = True
# Names of other packages are not looked up, because that takes a network; each of our own must be found.
nitpick_ignore_regex = [("py:.*", r"(?!aiosipcdr)(?!CdrClient|CdrStream|FetchReport).*")]
smartquotes = False  # they turn the two dashes of an option into one
default_role = "code"  # docstrings put one backtick around code

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"aiosipcdr {release}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#5fd3a8", "color-brand-content": "#5fd3a8"},
}

"""How the site is made: ``sphinx-build -W -b html docs <folder>``. Nothing is fetched."""

import os
import subprocess
import sys

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import g3reduce

project = "g3reduce"
author = "The g3reduce developers"
copyright = author
release = version = g3reduce.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
default_role = "py:obj"  # what numpydoc's single backticks mean

myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are shown with the outputs in them; the tests run them
smartquotes = False  # "auto" is a value to be typed as it stands

# Types stand in the numpydoc sections; signatures are easier to read without them.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
numpydoc_show_class_members = False
viewcode_line_numbers = True

copybutton_prompt_text = r">>> |\.\.\. |\$ "  # and no output, where there are prompts
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = f"g3reduce {release}"
html_sidebars = {"index": [], "search": [], "genindex": []}  # elsewhere: the pages of the group
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,  # the six groups
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}


def help_text(*command: str) -> str:
    """What ``g3reduce <command> --help`` prints, 80 columns wide."""
    return subprocess.run(
        [sys.executable, "-m", "g3reduce", *command, "--help"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "80", "NO_COLOR": "1"},
    ).stdout


class CommandHelp(SphinxDirective):
    """The help of a command, as the command prints it: ``{command-help} coadd``."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Ask the command."""
        text = help_text(*self.arguments)
        return [nodes.literal_block(text, text, language="text")]


def setup(app):
    """Add what is this site's own."""
    app.add_directive("command-help", CommandHelp)

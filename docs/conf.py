"""The documentation's settings; ``python -m sphinx -W -b html docs build/docs`` builds it."""

from __future__ import annotations

import doctest
import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parent

# The front door is loaded from this checkout by its place: its modules are extrapypi.* then, and
# no module of ours gets in the way of one of Sphinx's, as it would with the checkout in sys.path.
front = importlib.util.spec_from_file_location("extrapypi", CHECKOUT / "extrapypi.py")
sys.modules["extrapypi"] = importlib.util.module_from_spec(front)
front.loader.exec_module(sys.modules["extrapypi"])
sys.path.insert(0, str(HERE))

project = "extrapypi"
author = "the authors of extrapypi"
release = version = sys.modules["extrapypi"].__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "changelog_page",
    "commands_list",
    "settings_table",
]
html_theme = "furo"
html_title = f"extrapypi {release}"
html_show_copyright = False
html_show_sourcelink = False
highlight_language = "none"
smartquotes = False
doctest_default_flags = doctest.ELLIPSIS
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

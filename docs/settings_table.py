"""The directive ``settings``: every setting with its default and meaning, from the code's table."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from extrapypi.settings import DEFAULTS, Setting

NONE = type(None)


def described(setting: Setting) -> list[str]:
    """The lines of reStructuredText about one setting."""
    types = " or ".join("None" if kind is NONE else kind.__name__ for kind in kinds(setting))
    long = isinstance(setting.default, dict)
    default = "as below" if long else f"``{setting.default!r}``"
    return [
        f".. confval:: {setting.name}",
        f"   :type: {types}",
        f"   :default: {default}",
        "",
        f"   {setting.meaning.replace('`', '``')}",
        "",
    ]


def kinds(setting: Setting) -> list[type]:
    """The types that a setting takes, without the one that a person has no use for."""
    return [kind for kind in setting.kinds if kind is not Path]


class SettingsTable(SphinxDirective):
    """``.. settings::``"""

    def run(self) -> list[nodes.Node]:
        lines = [line for setting in DEFAULTS for line in described(setting)]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app) -> dict[str, bool]:
    app.add_directive("settings", SettingsTable)
    return {"parallel_read_safe": True}

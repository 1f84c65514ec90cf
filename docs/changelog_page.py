"""The directive ``changelog``: CHANGELOG.md, which has headings, lists and code, as a page."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"


def as_restructured_text(text: str) -> str:
    """Markdown of that kind as reStructuredText, without its title."""
    lines = []
    for line in text.splitlines()[1:]:
        line = re.sub(r"`([^`]+)`", r"``\1``", line)
        if line.startswith("## "):
            line = f"{line[3:]}\n{'-' * len(line[3:])}"
        lines.append(line)
    return "\n".join(lines)


class Changelog(SphinxDirective):
    """``.. changelog::``"""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(CHANGELOG))
        text = as_restructured_text(CHANGELOG.read_text(encoding="utf-8"))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app) -> dict[str, bool]:
    app.add_directive("changelog", Changelog)
    return {"parallel_read_safe": True}

"""The directive ``commands``: every command with its arguments, from the command line's parser."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from extrapypi.commandline import parser

SUBCOMMANDS = argparse._SubParsersAction


def commands(under: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers of all commands below one, in their order."""
    groups = [action for action in under._actions if isinstance(action, SUBCOMMANDS)]
    for group in groups:
        for command in group.choices.values():
            yield from commands(command)
    if not groups:
        yield under


def described(command: argparse.ArgumentParser) -> list[str]:
    """The lines of reStructuredText about one command."""
    words = command.prog.partition(" ")[2]
    usage = " ".join(command.format_usage().removeprefix("usage: ").split())
    lines = [f".. _command-{words.replace(' ', '-')}:", "", words, "~" * len(words), ""]
    lines += [".. code-block:: none", "", f"   {usage}", ""]
    lines += textwrap.dedent(command.description or "").replace("`", "``").splitlines()
    lines += ["", f".. program:: {command.prog}", ""]
    for action in command._actions:
        if not isinstance(action, argparse._HelpAction):
            lines += option(action)
    return lines


def option(action: argparse.Action) -> list[str]:
    """The lines about one argument of a command."""
    name = action.metavar or ("" if action.choices else action.dest.upper())
    name = name or "{" + ",".join(action.choices) + "}"
    if not action.option_strings:
        heading = name
    else:
        value = "" if action.nargs == 0 else f" {name}"
        heading = ", ".join(f"{word}{value}" for word in action.option_strings)
    text = (action.help or "").replace("`", "``")
    return [f".. option:: {heading}", "", f"   {text[:1].upper()}{text[1:]}", ""]


class CommandsList(SphinxDirective):
    """``.. commands::``"""

    def run(self) -> list[nodes.Node]:
        lines = [line for command in commands(parser()) for line in described(command)]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app) -> dict[str, bool]:
    app.add_directive("commands", CommandsList)
    return {"parallel_read_safe": True}

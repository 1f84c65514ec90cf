"""What is measured against the goals, and the one table of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

HEAD = ("measured", "extrapypi", "beside it", "value", "goal", "met")


class Line(NamedTuple):
    """One line of the table; without a goal it is only told, and counts as met."""

    title: str
    ours: str
    other: str
    value: float
    goal: str
    met: bool


def at_least(title: str, ours: str, other: str, value: float, least: float | None) -> Line:
    """A line whose value must reach the goal; None for no goal."""
    goal = "" if least is None else f"at least {least:g}"
    return Line(title, ours, other, value, goal, least is None or value >= least)


def below(title: str, ours: str, other: str, value: float, limit: float) -> Line:
    """A line whose value must stay under the goal."""
    return Line(title, ours, other, value, f"under {limit:g}", value < limit)


def table(lines: Iterable[Line]) -> str:
    """The lines as a Markdown table."""
    rows = [HEAD, ("---",) * len(HEAD), *map(row, lines)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def row(line: Line) -> tuple[str, ...]:
    """The cells of a line."""
    met = ("yes" if line.met else "**no**") if line.goal else "-"
    return line.title, line.ours, line.other or "-", f"{line.value:,.2f}", line.goal or "-", met

"""What a benchmark tells: a line for each goal."""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """A figure of ours beside another one, and whether it is as good as it is to be."""

    title: str
    ours: str
    other: str
    value: float
    goal: str
    met: bool

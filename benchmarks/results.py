"""What was measured, round by round, and what it comes to beside the others."""

from __future__ import annotations

import statistics
import sys

from lines import Line, at_least, below
from load import Rate
from peers import Peer

FORMS = {  # measure -> how it is shown
    "per_second": "{:,.1f}/s",
    "p99_ms": "p99 {:,.1f} ms",
    "mb_per_second": "{:,.0f} MB/s",
    "seconds": "{:,.2f} s",
    "memory_mb": "{:,.1f} MB",
    "waited": "{:,.2f} s",
    "number": "{:,.0f}",
}


class Results:
    """The numbers of each round, by title, server and measure."""

    def __init__(self) -> None:
        self.rounds: dict[str, dict[str, dict[str, list[float]]]] = {}

    def add(self, title: str, name: str, **measured: float) -> None:
        """Keeps the numbers of a round, and shows them."""
        for measure, number in measured.items():
            by_name = self.rounds.setdefault(title, {}).setdefault(name, {})
            by_name.setdefault(measure, []).append(number)
        told = ", ".join(shown(measure, number) for measure, number in measured.items())
        print(f"  {title}: {name}: {told}", file=sys.stderr)

    def median(self, title: str, name: str, measure: str) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds[title][name][measure])

    def worst(self, title: str, name: str, measure: str) -> float:
        """The highest of the rounds."""
        return max(self.rounds[title][name][measure])

    def has(self, title: str, peer: type[Peer]) -> bool:
        """Whether this was measured of that server."""
        return peer.NAME in self.rounds.get(title, {})

    def ratio(
        self,
        title: str,
        measure: str,
        ours: type[Peer],
        other: type[Peer],
        least: float | None = None,
    ) -> Line:
        """How many times as fast we are as another server; without ``least`` no goal."""
        mine, theirs = (self.median(title, each.NAME, measure) for each in (ours, other))
        named = f"{title}, beside {other.NAME}"
        if ours.NAME != "extrapypi":
            named = f"{title}, {ours.NAME.removeprefix('extrapypi ')}, beside {other.NAME}"
        return at_least(named, shown(measure, mine), shown(measure, theirs), mine / theirs, least)

    def slowness(self, title: str, ours: type[Peer], other: type[Peer], limit: float) -> Line:
        """How many times as long the slowest hundredth waits as at another server."""
        mine, theirs = (self.median(title, each.NAME, "p99_ms") for each in (ours, other))
        named = f"{title}: 99th percentile, beside {other.NAME}"
        told = (shown("p99_ms", each) for each in (mine, theirs))
        return below(named, *told, mine / theirs, limit)

    def limited(self, title: str, measure: str, ours: type[Peer], limit: float) -> Line:
        """The highest of the rounds, which must stay under the limit."""
        worst = self.worst(title, ours.NAME, measure)
        return below(title, shown(measure, worst), "", worst, limit)


def numbers(rate: Rate) -> dict[str, float]:
    """A rate as the results keep it."""
    return {"per_second": rate.per_second, "p99_ms": rate.p99 * 1000}


def shown(measure: str, number: float) -> str:
    """The number with its unit."""
    return FORMS[measure].format(number)

"""Pages and files, asked for again and again, of servers that run side by side."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lines import Line
from load import Load
from peers import IDENTITY, Bare, ExtraPyPI, Peer, started
from processes import Address
from pypiservers import PyPIServer
from results import Results, numbers
from transfers import ask

MANY_PROJECTS, MANY_FILES, FEW_FILES = 10_000, 1_000, 5
SLOWEST = 3  # times the 99th percentile of the bare application
JSON = (  # as pip asks
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)
GZIP = {"Accept-Encoding": "gzip, deflate"}
PROJECTS = {
    **{f"project-{number:05}": 1 for number in range(MANY_PROJECTS - 3)},
    **{"few": FEW_FILES, "many": MANY_FILES},  # and the small wheel's
}


@dataclass(frozen=True)
class Case:
    """A page or file, and the goal: how many times as fast as the bare application."""

    key: str
    title: str
    headers: dict[str, str] = field(hash=False)
    least: float
    status: int = 200
    timed: bool = False  # whether its 99th percentile has a goal, too


PAGE = f"project page, {FEW_FILES} files"
CASES = (
    Case("few", f"{PAGE}, HTML", {"Accept": "text/html", **GZIP}, 0.9, timed=True),
    Case("few json", f"{PAGE}, JSON", {"Accept": JSON, **GZIP}, 0.9, timed=True),
    Case("few 304", f"{PAGE}, not modified (304)", {"Accept": JSON, **GZIP}, 0.9, 304, True),
    Case("many", f"project page, {MANY_FILES:,} files", {"Accept": JSON, **GZIP}, 0.8),
    Case("list", f"project list, {MANY_PROJECTS:,} projects", {"Accept": JSON, **GZIP}, 0.8),
    Case("wheel", "wheel of 10 KB", IDENTITY, 0.9),
    Case("range", "4 KB of that wheel (206)", {"Range": "bytes=0-4095", **IDENTITY}, 0.9, 206),
    Case("wheel 304", "that wheel, not modified (304)", IDENTITY, 0.9, 304),
    Case("metadata", "its .metadata", IDENTITY, 0.9),
)


class Reading:
    """The servers whose pages are read; all run from the beginning to the end."""

    def __init__(self, peers: list[Peer], folder: Path, stack: ExitStack) -> None:
        sizes: dict[str, int] = {}
        self.addresses: dict[Peer, Address] = {}
        self.requests: dict[Peer, dict[Case, bytes]] = {}
        for peer in peers:
            _, address = started(peer, folder, PROJECTS, stack)
            pages = peer.pages(sizes)
            self.addresses[peer], self.requests[peer] = address, {}
            for case in CASES:
                if case.key in pages:
                    request, size = request_of(peer, address, pages[case.key], case)
                    self.requests[peer][case] = request
                    sizes.setdefault(case.key, size)

    def round(self, load: Load, results: Results, peers: list[Peer], seconds: float) -> None:
        """Measures each case on each server, one server right after the other."""
        for case in CASES:
            for peer in peers:
                request = self.requests[peer].get(case)
                if request:
                    rate = load.repeat(self.addresses[peer], request, seconds, case.status)
                    results.add(case.title, peer.NAME, **numbers(rate))


def request_of(peer: Peer, address: Address, path: str, case: Case) -> tuple[bytes, int]:
    """The request of a case, and how many bytes its answer has."""
    headers = dict(case.headers)
    first = 200 if case.status == 304 else case.status
    head, size = ask(address, peer.get(path, headers), first)
    if case.status == 304:
        headers["If-None-Match"] = re.search(rb"(?i)\r\netag: *([^\r]+)", head)[1].decode()
        _, size = ask(address, peer.get(path, headers), 304)
    return peer.get(path, headers), size


def lines(results: Results) -> Iterator[Line]:
    """Each case beside the bare application, and beside pypiserver where it has one."""
    for case in CASES:
        yield results.ratio(case.title, "per_second", ExtraPyPI, Bare, case.least)
        if case.timed:
            yield results.slowness(case.title, ExtraPyPI, Bare, SLOWEST)
        if results.has(case.title, PyPIServer):
            yield results.ratio(case.title, "per_second", ExtraPyPI, PyPIServer)

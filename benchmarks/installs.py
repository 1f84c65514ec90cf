"""How long uv and pip take to install a chain of wheels, and what they ask for again."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from lines import Line
from load import PROCESSES, Load, LoadError
from nginx import Nginx, copy
from peers import ACCOUNT, ExtraPyPI, Peer, started
from processes import Address, Running
from results import Results
from samples import wheel
from transfers import ask

from clients import Machine, Request, access_lines, environment, with_credentials  # isort: skip

from extrapypi.accesslog import LATEST  # isort: skip

LINKS = 60  # wheels, of which each needs the next one
NAMES = [f"pkg-{number}" for number in range(LINKS)]
TOOLS = ("uv", "pip")
SLOWEST = 1.15  # times the seconds with static pages
CROWD = 80  # connections at once
REPEATED = 2  # times in each round, because an install is short
INDEX = "/simple/"
PEERS = (ExtraPyPI, Nginx)


class Chain:
    """The same wheels on extrapypi and as static files, and what came of installing them."""

    def __init__(self, ours: Peer, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.results = Results()
        self.again: dict[str, list[Request]] = {tool: [] for tool in TOOLS}
        self.running, self.address = started(ours, folder, {}, stack)
        for name, after in zip(NAMES, [*NAMES[1:], ""], strict=True):
            needs = [after] if after else []
            ask(self.address, ours.post(wheel(name, requires_dist=needs)))
        self.addresses = {ours: self.address, Nginx(): self._static(stack)}

    def _static(self, stack: ExitStack) -> Address:
        place = self.folder / "nginx"
        place.mkdir()
        Nginx().prepare(place, {})
        copy(self.address, NAMES, place)
        running, address = Nginx().start(place)
        stack.callback(running.stop)
        return address

    def round(self, number: int) -> None:
        """Installs the chain with each tool from each server, in the order of this round."""
        turns = list(self.addresses.items())[:: 1 if number % 2 else -1]
        for tool in TOOLS:
            for peer, address in turns:
                # They all stay until the end: after many files were deleted, new ones take long.
                machine = Machine(Path(tempfile.mkdtemp(dir=self.folder)))
                seconds = install(machine, tool, address)
                self.results.add(title(tool), peer.NAME, seconds=seconds)
                if isinstance(peer, ExtraPyPI):
                    self.again[tool] += asked_again(machine, tool, self.running, address)

    def lines(self) -> Iterator[Line]:
        """The times beside those with static pages, and the requests of the second installs."""
        for tool in TOOLS:
            median = (self.results.median(title(tool), each.NAME, "seconds") for each in PEERS)
            ours, other = median
            named, goal = f"{title(tool)}, beside {Nginx.NAME}", f"at most {SLOWEST}"
            ratio = ours / other
            yield Line(named, f"{ours:.2f} s", f"{other:.2f} s", ratio, goal, ratio <= SLOWEST)
            yield warm(tool, self.again[tool])


def title(tool: str) -> str:
    """What the tool does with a cold cache."""
    return f"{tool} installs a chain of {LINKS}, cold cache"


def install(machine: Machine, tool: str, address: Address) -> float:
    """The seconds that the tool takes."""
    url = with_credentials(f"http://{address[0]}:{address[1]}{INDEX}", *ACCOUNT.split(":"))
    began = time.monotonic()
    machine.install(tool, url, NAMES[0])
    return time.monotonic() - began


def asked_again(machine: Machine, tool: str, running: Running, address: Address) -> list[Request]:
    """What the server is asked when the tool, its cache warm, installs the chain anew."""
    time.sleep(2 * LATEST)  # the last lines are in the log then
    start = running.log.stat().st_size
    install(machine, tool, address)
    time.sleep(2 * LATEST)
    return access_lines(running.log.read_bytes()[start:].decode())


def warm(tool: str, requests: list[Request]) -> Line:
    """Whether every request was for a page of the index, and answered with 304."""
    unchanged = [each for each in requests if each.path.startswith(INDEX) and each.status == 304]
    files = [each for each in requests if not each.path.startswith(INDEX)]
    others = len(requests) - len(unchanged)
    told = f"{len(unchanged)} of {len(requests)} requests are 304 of pages, {len(files)} of files"
    met = bool(requests) and not others
    return Line(f"{tool} again, warm cache", told, "", others, "all 304, no files", met)


def crowd(load: Load, peer: Peer, address: Address, seconds: float, when: str) -> Line:
    """Whether so many connections at once are all served."""
    request = peer.get(INDEX, {"Accept-Encoding": "gzip"})
    try:
        rate = load.repeat(address, request, seconds, connections=CROWD // PROCESSES)
        told, met = f"{len(rate.latencies):,} requests, p99 {rate.p99 * 1000:.0f} ms", True
    except (LoadError, OSError) as error:
        told, met = str(error), False
    named = f"{CROWD} connections at once, with Basic, {when}"
    return Line(named, told, "", float(not met), "none refused or reset", met)


def first_crowd(load: Load, peer: Peer, folder: Path, seconds: float) -> Line:
    """The same of a server that has not checked the password yet."""
    folder.mkdir()
    peer.prepare(folder, {})
    running, address = peer.start(folder)
    try:
        return crowd(load, peer, address, seconds, "just started")
    finally:
        running.stop()
        peer.remove(folder)


def measure(arguments: argparse.Namespace, folder: Path, load: Load) -> list[Line]:
    """The lines of real clients."""
    ours = ExtraPyPI(arguments.database)
    for tool in TOOLS:
        environment(tool)  # is made before anything is timed
    with ExitStack() as stack:
        chain = Chain(ours, folder, stack)
        for number in range(REPEATED * arguments.rounds):
            chain.round(number)
        return [
            *chain.lines(),
            crowd(load, ours, chain.address, arguments.seconds, "warm"),
            first_crowd(load, ours, folder / "first", arguments.seconds),
        ]

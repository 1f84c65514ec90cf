"""What others notice of one huge upload, and of a hundred clients that are very slow."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from dawdlers import dawdle
from lines import Line, at_least, below
from load import Load, Rate
from peers import IDENTITY, ExtraPyPI, Peer, started
from processes import Address
from reading import PROJECTS
from results import Results, numbers, shown
from samples import MB, BigWheel, big_wheel
from transfers import Sent

PAGE, LIST = "/simple/few/", "/simple/"
OTHERS = 2  # connections of each process of the load
SLICE = 0.5  # seconds that are measured before it is seen whether the upload has ended
SLOW = 50  # readers, and as many writers
STARTING = 3  # seconds until the slow ones are all at it
SLOWEST = 5  # times the quiet 99th percentile
LEAST = 0.8  # of the quiet rate
LARGE = 64  # MB that half of the slow readers read
QUIET = "others' project pages, quiet"
UPLOADING = "others' project pages while a huge wheel comes"
DAWDLING = f"others' project pages beside {SLOW} slow readers and {SLOW} slow writers"
STILL = "slow clients that were never cut off"


class Crowd:
    """One server, and a page of it that others ask for all the time."""

    def __init__(self, peer: Peer, folder: Path, load: Load, seconds: float) -> None:
        self.peer, self.folder, self.load, self.seconds = peer, folder, load, seconds
        self.results = Results()
        self.page = peer.get(PAGE, {"Accept-Encoding": "gzip"})

    def round(self, huge: BigWheel, large: BigWheel) -> None:
        """Measures the others before, during and after the upload, then beside slow clients."""
        with ExitStack() as stack:
            _, address = started(self.peer, self.folder, PROJECTS, stack)
            self.peer.upload(address, large)
            before = self._quiet(address)
            rate, sent = self._while_uploading(address, huge)
            self._add(UPLOADING, rate)
            self.results.add("that wheel", self.peer.NAME, **sent._asdict())
            self._add(QUIET, before + self._quiet(address))
            rate, still = self._beside_slow(address, large)
            self._add(DAWDLING, rate)
            self.results.add(STILL, self.peer.NAME, number=still)

    def _add(self, title: str, rate: Rate) -> None:
        self.results.add(title, self.peer.NAME, **numbers(rate))

    def _others(self, address: Address, seconds: float) -> Rate:
        return self.load.repeat(address, self.page, seconds, connections=OTHERS)

    def _quiet(self, address: Address) -> Rate:
        os.sync()  # what an upload has left to write is not quiet
        return self._others(address, self.seconds)

    def _while_uploading(self, address: Address, huge: BigWheel) -> tuple[Rate, Sent]:
        with ThreadPoolExecutor(1) as client:
            sending = client.submit(self.peer.upload, address, huge)
            rate = self._others(address, SLICE)
            while not sending.done():
                rate += self._others(address, SLICE)
        return rate, sending.result()

    def _beside_slow(self, address: Address, large: BigWheel) -> tuple[Rate, int]:
        gets = [self.peer.get(self.peer.file(large.name, large.path.name), IDENTITY)]
        gets.append(self.peer.get(LIST, IDENTITY))
        forms = [f"slow{number}" for number in range(SLOW)]
        posts = [self.peer.form(f"{n}-1.0-py3-none-any.whl", n, "1.0", "", MB)[0] for n in forms]
        with ProcessPoolExecutor(1) as helper:
            lasting = STARTING + 2 * self.seconds + 1
            slow = helper.submit(dawdle, address, gets * (SLOW // 2), posts, lasting)
            time.sleep(STARTING)
            rate = self._others(address, 2 * self.seconds)
            return rate, slow.result()

    def lines(self) -> Iterator[Line]:
        """The others while it is busy, beside the same while it is quiet."""
        busy, quiet = (self._median(title, "p99_ms") for title in (UPLOADING, QUIET))
        told = (shown("p99_ms", each) for each in (busy, quiet))
        yield below(f"{UPLOADING}, beside quiet", *told, busy / quiet, SLOWEST)
        busy, quiet = (self._median(title, "per_second") for title in (DAWDLING, QUIET))
        told = (shown("per_second", each) for each in (busy, quiet))
        yield at_least(f"{DAWDLING}, beside quiet", *told, busy / quiet, LEAST)

    def _median(self, title: str, measure: str) -> float:
        return self.results.median(title, self.peer.NAME, measure)


def measure(arguments: argparse.Namespace, folder: Path, load: Load) -> list[Line]:
    """The lines of a busy server."""
    crowd = Crowd(ExtraPyPI(arguments.database), folder, load, arguments.seconds)
    huge, large = big_wheel(folder, "huge", arguments.huge), big_wheel(folder, "large", LARGE)
    for _ in range(arguments.rounds):
        crowd.round(huge, large)
    return list(crowd.lines())

"""Uploads to empty servers, and a large wheel back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from lines import Line
from load import Load
from peers import Bare, ExtraPyPI, Peer, SyncedBare, ThoroughBare, Unsynced, started
from pypiservers import PyPIServer, SyncedPyPIServer
from results import Results, numbers
from samples import MB, big_wheel, wheel

UPLOADS, UPLOADERS, PER_PROJECT = 200, 4, 10  # tiny wheels, clients, wheels of one project
TINY = f"{UPLOADS} tiny wheels up, {UPLOADERS} clients"
TINY_PAIRS = (  # whose rates are compared, and the goal; each waits for the disk or neither does
    (ExtraPyPI, SyncedPyPIServer, 1.5),
    (Unsynced, PyPIServer, None),
    (ExtraPyPI, PyPIServer, None),
)
DOWNLOADS = 3  # of the large wheel in each round, because they are short
UP_PAIRS = (
    (ExtraPyPI, ThoroughBare, 1.0),
    (ExtraPyPI, SyncedBare, 1.0),
    (Unsynced, Bare, None),
    (ExtraPyPI, Bare, None),
    (ExtraPyPI, PyPIServer, None),
)
DOWN_PAIRS = ((ExtraPyPI, Bare, 0.9), (ExtraPyPI, PyPIServer, None))


class Writing:
    """A server after the other, empty at its start."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self.megabytes = folder, megabytes
        self.big = big_wheel(folder, "big", megabytes)

    def round(self, load: Load, results: Results, peer: Peer, number: int) -> None:
        """Measures one server."""
        with ExitStack() as stack:
            _, address = started(peer, self.folder, {}, stack)
            rate = load.once(address, tiny_uploads(peer, number), UPLOADERS)
            results.add(TINY, peer.NAME, **numbers(rate))
            os.sync()  # what others have left to write must not be counted here
            self._add(results, peer, "up", peer.upload(address, self.big).seconds)
            os.sync()
            for _ in range(DOWNLOADS):
                self._add(results, peer, "down", peer.download(address, self.big))

    def _add(self, results: Results, peer: Peer, way: str, seconds: float) -> None:
        rate = self.big.size / MB / seconds
        results.add(self._title(way), peer.NAME, mb_per_second=rate, seconds=seconds)

    def _title(self, way: str) -> str:
        return f"wheel of {self.megabytes} MB {way}"

    def lines(self, results: Results) -> Iterator[Line]:
        """The uploads and the download beside those of the others that were measured."""
        for title, measure, pairs in (
            (TINY, "per_second", TINY_PAIRS),
            (self._title("up"), "mb_per_second", UP_PAIRS),
            (self._title("down"), "mb_per_second", DOWN_PAIRS),
        ):
            for ours, other, least in pairs:
                if results.has(title, other):
                    yield results.ratio(title, measure, ours, other, least)


def tiny_uploads(peer: Peer, number: int) -> list[bytes]:
    """Requests for wheels of which no other round has the names."""
    return [
        peer.post(wheel(f"tiny-{number}-{each // PER_PROJECT}", f"1.{each % PER_PROJECT}"))
        for each in range(UPLOADS)
    ]

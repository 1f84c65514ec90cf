"""How far the server's memory rises while large wheels come and go, and how soon it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from lines import Line
from peers import ExtraPyPI, Peer, started
from processes import Running
from results import Results
from samples import MB, BigWheel, big_wheel

AT_ONCE = 4
MOST = 100  # MB over what it had in memory when idle
PATIENCE = 10  # seconds from the last byte of the largest upload to the answer


class Memory:
    """Four large wheels, which come one alone and then all at once, and a huge one."""

    def __init__(self, folder: Path, megabytes: int, huge: int) -> None:
        self.folder = folder
        names = [f"large{number}" for number in range(AT_ONCE + 1)]
        self.alone, *self.others = [big_wheel(folder, name, megabytes) for name in names]
        self.huge = big_wheel(folder, "huge", huge)
        self.groups = {
            f"1 wheel of {megabytes} MB": [self.alone],
            f"{AT_ONCE} wheels of {megabytes} MB at once": self.others,
            f"1 wheel of {huge:,} MB": [self.huge],
        }
        self.answer = f"{huge:,} MB up: from the last byte to the answer"

    def round(self, results: Results, peer: Peer) -> None:
        """Measures each group, up and down, on an empty server."""
        with ExitStack() as stack:
            running, address = started(peer, self.folder, {}, stack)
            for title, wheels in self.groups.items():
                peak, sent = over_idle(running, lambda each: peer.upload(address, each), wheels)
                results.add(rise(title, "up"), peer.NAME, memory_mb=peak)
                if wheels == [self.huge]:
                    results.add(self.answer, peer.NAME, waited=sent[0].waited)
                peak, _ = over_idle(running, lambda each: peer.download(address, each), wheels)
                results.add(rise(title, "down"), peer.NAME, memory_mb=peak)

    def lines(self, results: Results) -> Iterator[Line]:
        """The highest peaks, and the longest wait."""
        for title in self.groups:
            for way in ("up", "down"):
                yield results.limited(rise(title, way), "memory_mb", ExtraPyPI, MOST)
        yield results.limited(self.answer, "waited", ExtraPyPI, PATIENCE)


def rise(title: str, way: str) -> str:
    """The title of a peak."""
    return f"{title} {way}: peak memory over idle"


def over_idle(
    running: Running, move: Callable[[BigWheel], object], wheels: list[BigWheel]
) -> tuple[float, list]:
    """The peak over what was in memory before, in MB, and what each move returned."""
    running.forget_peak()
    idle, _ = running.memory()
    with ThreadPoolExecutor(len(wheels)) as clients:
        moved = list(clients.map(move, wheels))
    _, peak = running.memory()
    return (peak - idle) / MB, moved

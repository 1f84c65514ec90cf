"""How fast extrapypi is beside a bare Bottle application and beside pypiserver.

One run, interleaved rounds, medians; see README.md in this folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from load import (
    CONNECTIONS,
    PROCESSES,
    Address,
    Load,
    LoadError,
    Rate,
    ask,
    download,
    responder,
    upload,
)
from peers import BIG, CACHE, Bare, ExtraPyPI, Peer, Projects, PyPIServer, Running

# peers has put the tests on the path
from archives_made import metadata_text, wheel_bytes  # isort: skip

MB = 1024 * 1024
MANY_PROJECTS, MANY_FILES, FEW_FILES = 10_000, 1_000, 5
UPLOADS, UPLOADERS, PER_PROJECT = 200, 4, 10  # tiny wheels, clients, wheels of one project
SMALL = wheel_bytes("small", files={"small.bin": os.urandom(9_500)})  # about 10 KB
BLOCK = 16 * MB  # of random bytes, repeated in the large wheel
JSON = (  # as pip asks
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)
GZIP = {"Accept-Encoding": "gzip, deflate"}
IDENTITY = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Case:
    """A page that is asked for again and again."""

    key: str
    title: str
    headers: dict[str, str] = field(hash=False)
    status: int = 200


PAGES = (
    Case("few", f"project page, {FEW_FILES} files, HTML", {"Accept": "text/html", **GZIP}),
    Case("few json", "the same, JSON", {"Accept": JSON, **GZIP}),
    Case("few 304", "the same, not modified (304)", {"Accept": JSON, **GZIP}, 304),
    Case("many", f"project page, {MANY_FILES:,} files", {"Accept": JSON, **GZIP}),
    Case("list", f"project list, {MANY_PROJECTS:,} projects", {"Accept": JSON, **GZIP}),
    Case("wheel", "wheel of 10 KB", IDENTITY),
    Case("metadata", "its .metadata", IDENTITY),
)


class Results:
    """What was measured: case, then server, then the numbers of each round."""

    def __init__(self, peers: list[Peer]) -> None:
        self.names = [peer.NAME for peer in peers]
        self.cases: dict[str, dict[str, list[dict[str, float]]]] = {}

    def add(self, title: str, peer: Peer, **measured: float) -> None:
        """Keeps the numbers of a round, and shows them."""
        self.cases.setdefault(title, {}).setdefault(peer.NAME, []).append(measured)
        print(f"  {title}: {peer.NAME}: {shown(measured)}", file=sys.stderr)

    def table(self) -> str:
        """The medians as a Markdown table."""
        ours, *others = self.names
        head = ["case", *self.names, *(f"ratio to {name}" for name in others)]
        rows = [head, ["---"] * len(head)]
        for title, measured in self.cases.items():
            medians = {name: median(rounds) for name, rounds in measured.items()}
            cells = [shown(medians.get(name, {})) for name in self.names]
            ratios = [ratio(medians[ours], medians.get(name, {})) for name in others]
            rows.append([title, *cells, *ratios])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each number."""
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def numbers(rate: Rate) -> dict[str, float]:
    """A rate as the results keep it."""
    return {"per_second": rate.per_second, "p99_ms": rate.p99 * 1000}


def shown(measured: dict[str, float]) -> str:
    """A cell of the table."""
    if "per_second" in measured:
        rate = measured["per_second"]
        return f"{rate:,.{0 if rate >= 100 else 1}f}/s, p99 {measured['p99_ms']:,.1f} ms"
    if "seconds" in measured:
        return f"{measured['mb_per_second']:,.0f} MB/s, {measured['seconds']:.2f} s"
    return f"{measured['memory_mb']:,.1f} MB" if measured else "-"


def ratio(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """How many times as fast we are; nothing for memory, of which 0 can be needed."""
    for key in ("per_second", "mb_per_second"):
        if key in ours and key in theirs:
            return f"{ours[key] / theirs[key]:.2f}"
    return "-"


class Reading:
    """The servers whose pages are read; all run from the beginning to the end."""

    def __init__(self, peers: list[Peer], folder: Path, stack: ExitStack) -> None:
        spare = {f"project-{number:05}": 1 for number in range(MANY_PROJECTS - 3)}
        projects = {**spare, "few": FEW_FILES, "many": MANY_FILES}  # and the small wheel's
        sizes: dict[str, int] = {}
        self.addresses: dict[Peer, Address] = {}
        self.requests: dict[Peer, dict[Case, bytes]] = {}
        for peer in peers:
            _, address = started(peer, folder / f"{peer.NAME} reading", projects, stack)
            pages = peer.pages(SMALL[0], sizes)
            self.addresses[peer], self.requests[peer] = address, {}
            for page in PAGES:
                if page.key in pages:
                    request, size = page_request(peer, address, pages[page.key], page)
                    self.requests[peer][page] = request
                    sizes.setdefault(page.key, size)

    def round(self, load: Load, results: Results, peers: list[Peer], seconds: float) -> None:
        """Measures each page on each server, one server right after the other."""
        for page in PAGES:
            for peer in peers:
                request = self.requests[peer].get(page)
                if request:
                    rate = load.repeat(self.addresses[peer], request, seconds, page.status)
                    results.add(page.title, peer, **numbers(rate))


class Writing:
    """Uploads to an empty server that is started for them, and its large wheel back."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self.megabytes = folder, megabytes
        self.big = folder / BIG
        write_big_wheel(self.big, megabytes)
        self.sha256 = sha256_of(self.big)
        self.size = self.big.stat().st_size

    def round(self, load: Load, results: Results, peer: Peer, number: int) -> None:
        """Measures one server."""
        place = self.folder / f"{peer.NAME} writing"
        with ExitStack() as stack:
            running, address = started(peer, place, {}, stack)
            rate = load.once(address, tiny_uploads(peer, number), UPLOADERS)
            title = f"upload of {UPLOADS} tiny wheels, {UPLOADERS} clients"
            results.add(title, peer, **numbers(rate))
            head, tail = peer.form(BIG, "big", "1.0", self.sha256, self.size)
            get = peer.get(peer.pages("", {})["big"], IDENTITY)
            for way, move in (
                ("up", lambda: upload(address, head, self.big, tail)),
                ("down", lambda: download(address, get, self.size)),
            ):
                self._transfer(results, peer, running, way, move)

    def _transfer(self, results: Results, peer: Peer, running: Running, way: str, move) -> None:
        os.sync()  # what others have left to write must not be counted here
        running.forget_peak()
        idle, _ = running.memory()
        seconds = move()
        _, peak = running.memory()
        title = f"wheel of {self.megabytes} MB {way}"
        rate = self.size / MB / seconds
        results.add(title, peer, mb_per_second=rate, seconds=seconds)
        results.add(f"{title}: peak memory over idle", peer, memory_mb=(peak - idle) / MB)


def started(
    peer: Peer, place: Path, projects: Projects, stack: ExitStack
) -> tuple[Running, Address]:
    """A server with these projects and the small wheel, which the stack stops and removes.

    It has checked the passwords once: of a server that runs for long that is no part of the cost.
    """
    place.mkdir()
    stack.callback(shutil.rmtree, place)
    peer.prepare(place, projects)
    running, address = peer.start(place)
    stack.callback(running.stop)
    filename, content = SMALL
    ask(address, upload_request(peer, filename, "small", "1.0", content))
    ask(address, peer.get(peer.pages(filename, {})["wheel"], IDENTITY))
    return running, address


def page_request(peer: Peer, address: Address, path: str, page: Case) -> tuple[bytes, int]:
    """The request of a page, and how many bytes its answer has."""
    headers = dict(page.headers)
    head, size = ask(address, peer.get(path, headers))
    if page.status == 304:
        headers["If-None-Match"] = re.search(rb"(?i)\r\netag: *([^\r]+)", head)[1].decode()
        _, size = ask(address, peer.get(path, headers), 304)
    return peer.get(path, headers), size


def upload_request(peer: Peer, filename: str, name: str, version: str, content: bytes) -> bytes:
    """The request that uploads a wheel."""
    sha256 = hashlib.sha256(content).hexdigest()
    head, tail = peer.form(filename, name, version, sha256, len(content))
    return head + content + tail


def tiny_uploads(peer: Peer, number: int) -> list[bytes]:
    """Requests for wheels of which no other round has the names."""
    requests = []
    for each in range(UPLOADS):
        name, version = f"tiny-{number}-{each // PER_PROJECT}", f"1.{each % PER_PROJECT}"
        filename, content = wheel_bytes(name, version)
        requests.append(upload_request(peer, filename, name, version, content))
    return requests


def write_big_wheel(path: Path, megabytes: int) -> None:
    """A sound wheel with so many megabytes of random data, stored as they are."""
    block, info = os.urandom(BLOCK), "big-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        with wheel.open("big.bin", "w") as data:
            for start in range(0, megabytes * MB, BLOCK):
                data.write(block[: megabytes * MB - start])
        wheel.writestr(f"{info}/METADATA", metadata_text("big"))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def sha256_of(path: Path) -> str:
    """The file's digest in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def limit(load: Load, seconds: float) -> Rate:
    """What the load reaches at a server that does nothing."""
    with responder() as address:
        load.repeat(address, b"GET / HTTP/1.1\r\n\r\n", 0.2)  # starts the processes
        return load.repeat(address, b"GET / HTTP/1.1\r\n\r\n", seconds)


def facts(peers: list[Peer], most: Rate, arguments: argparse.Namespace) -> dict[str, str]:
    """Where and how it was measured."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    connections = f"{PROCESSES} processes with {CONNECTIONS} connections each"
    return {
        "machine": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}",
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        **{peer.NAME: peer.version() for peer in peers},
        "rounds": f"{arguments.rounds}, {arguments.seconds:g} s for each page, medians",
        "load": f"{connections}; at a server that does nothing: {shown(numbers(most))}",
    }


def measure(arguments: argparse.Namespace) -> tuple[dict[str, str], Results]:
    """The facts, and the results of all rounds."""
    peers: list[Peer] = [ExtraPyPI(), Bare()]  # in this order: the second one copies sizes
    if arguments.pypiserver:
        peers.append(PyPIServer())
    CACHE.mkdir(parents=True, exist_ok=True)
    results = Results(peers)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=CACHE)))
        load = Load()
        stack.callback(load.close)
        about = facts(peers, limit(load, arguments.seconds), arguments)
        reading, writing = Reading(peers, folder, stack), Writing(folder, arguments.big)
        for number in range(1, arguments.rounds + 1):
            print(f"Round {number} of {arguments.rounds}", file=sys.stderr)
            order = peers if number % 2 else peers[::-1]
            reading.round(load, results, order, arguments.seconds)
            for peer in order:
                writing.round(load, results, peer, number)
    return about, results


def parsed(argv: list[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=3, metavar="S", help="for each page")
    parser.add_argument("--big", type=int, default=512, metavar="MB", help="the large wheel")
    parser.add_argument("--quick", action="store_true", help="2 rounds, 1 second for each page")
    parser.add_argument("--no-pypiserver", dest="pypiserver", action="store_false")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the numbers there")
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.rounds, arguments.seconds = 2, 1
    if arguments.rounds < 1 or arguments.seconds <= 0 or arguments.big < 1:
        parser.error("--rounds, --seconds and --big must be positive")
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the table, and returns the exit status."""
    arguments = parsed(argv)
    try:
        about, results = measure(arguments)
    except (LoadError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        print(f"The comparison ended early: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"- {key}: {fact}" for key, fact in about.items()))
    print(f"\n{results.table()}")
    if arguments.json:
        text = json.dumps({"facts": about, "cases": results.cases}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Measures extrapypi against its goals, on the machine at hand, and prints one table.

Run as ``python benchmarks`` in a checkout; see README.md in this folder. The exit status is 1 when
a goal is not met.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checkout import CACHE
from lines import Line, table
from load import CONNECTIONS, PROCESSES, Load, LoadError, responder
from peers import Bare, ExtraPyPI, Peer
from pypiservers import PyPIServer

PARTS = ("compare", "installs", "crowd", "growth")  # modules
FAULTS = (LoadError, RuntimeError, OSError, AssertionError, subprocess.SubprocessError)


def parsed(argv: list[str] | None) -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, metavar="N", help="default 5")
    parser.add_argument("--seconds", type=float, metavar="S", help="for each page, default 3")
    parser.add_argument("--quick", action="store_true", help="2 rounds, 1 second: less exact")
    parser.add_argument("--big", type=int, default=512, metavar="MB", help="a large wheel")
    parser.add_argument("--huge", type=int, default=2000, metavar="MB", help="the largest wheel")
    parser.add_argument("--only", choices=PARTS, action="append", help="may be said again")
    parser.add_argument("--database", default="", metavar="URL", help="on a server; else SQLite")
    parser.add_argument("--no-pypiserver", dest="pypiserver", action="store_false")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the lines there")
    arguments = parser.parse_args(argv)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.seconds = arguments.seconds or (1 if arguments.quick else 3)
    if min(arguments.rounds, arguments.seconds, arguments.big, arguments.huge) <= 0:
        parser.error("--rounds, --seconds, --big and --huge must be positive")
    return arguments


def facts(arguments: argparse.Namespace, load: Load) -> Iterator[tuple[str, str]]:
    """Where and how it is measured."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    yield "machine", f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}"
    yield "system", f"{platform.platform()}, Python {platform.python_version()}"
    peers: list[Peer] = [ExtraPyPI(arguments.database), Bare()]
    for peer in [*peers, PyPIServer()] if arguments.pypiserver else peers:
        yield peer.NAME, peer.version()
    yield "rounds", f"{arguments.rounds}, {arguments.seconds:g} s for each page, medians"
    yield "load", f"{PROCESSES} processes with {CONNECTIONS} connections each; {limit(load)}"


def limit(load: Load) -> str:
    """What the load reaches at a server that does nothing."""
    with responder() as address:
        load.repeat(address, b"GET / HTTP/1.1\r\n\r\n", 0.2)  # starts the processes
        most = load.repeat(address, b"GET / HTTP/1.1\r\n\r\n", 1)
    return f"at a server that does nothing {most.per_second:,.0f}/s, p99 {most.p99 * 1000:.1f} ms"


def measured(arguments: argparse.Namespace) -> tuple[dict[str, str], list[Line]]:
    """The facts, and the lines of all parts."""
    CACHE.mkdir(parents=True, exist_ok=True)
    load, lines = Load(), []
    try:
        about = dict(facts(arguments, load))
        for part in arguments.only or parts(arguments):
            print(f"Measuring: {part}", file=sys.stderr)
            found = measured_part(part, arguments, load)
            print(table(found), file=sys.stderr)  # in case that a later part breaks off
            lines += found
    finally:
        load.close()
    return about, lines


def parts(arguments: argparse.Namespace) -> list[str]:
    """What is measured when nothing is chosen; growth has a --database of its own."""
    left_out = "growth" if arguments.database or not importlib.util.find_spec("growth") else ""
    return [part for part in PARTS if part != left_out]


def measured_part(part: str, arguments: argparse.Namespace, load: Load) -> list[Line]:
    """The lines of one part; one that says so when it cannot be measured."""
    try:
        module = importlib.import_module(part)
        if part == "growth":
            return module.run(rounds=arguments.rounds)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            return module.measure(arguments, Path(folder), load)
    except FAULTS as error:
        said = " ".join(str(error).split())[:300].replace("|", "/")
        return [Line(part, f"ended early: {said}", "", 0, "measured", False)]


def main(argv: list[str] | None = None) -> int:
    """Measures, prints the table, and returns the exit status."""
    arguments = parsed(argv)
    about, lines = measured(arguments)
    print("\n".join(f"- {key}: {fact}" for key, fact in about.items()))
    print(f"\n{table(lines)}")
    if arguments.json:
        text = json.dumps({"facts": about, "lines": [line._asdict() for line in lines]}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if all(line.met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())

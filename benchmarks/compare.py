"""How fast extrapypi is beside a bare Bottle application and pypiserver, and what it needs."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

import reading
from lines import Line
from load import Load
from memory import Memory
from peers import Bare, ExtraPyPI, Peer, SyncedBare, ThoroughBare, Unsynced
from pypiservers import PyPIServer, SyncedPyPIServer
from reading import Reading
from results import Results
from writing import Writing


def readers(arguments: argparse.Namespace) -> list[Peer]:
    """The servers whose pages are read; the bare one copies the sizes of ours before it."""
    peers: list[Peer] = [ExtraPyPI(arguments.database), Bare()]
    return [*peers, PyPIServer()] if arguments.pypiserver else peers


def writers(arguments: argparse.Namespace) -> list[Peer]:
    """The servers that are uploaded to, with and without fsync."""
    url = arguments.database
    peers: list[Peer] = [ExtraPyPI(url), Unsynced(url), ThoroughBare(), SyncedBare(), Bare()]
    if arguments.pypiserver:
        peers += [SyncedPyPIServer(), PyPIServer()]
    return peers


def turns(peers: list[Peer], number: int) -> list[Peer]:
    """The servers in the order of this round, which is the other way round each time."""
    return peers if number % 2 else peers[::-1]


def measure(arguments: argparse.Namespace, folder: Path, load: Load) -> list[Line]:
    """The lines of pages, files, uploads and memory."""
    return [
        *measure_reading(arguments, folder, load),
        *measure_writing(arguments, folder, load),
        *measure_memory(arguments, folder),
    ]


def measure_reading(arguments: argparse.Namespace, folder: Path, load: Load) -> list[Line]:
    """The lines of pages and small files."""
    peers, results = readers(arguments), Results()
    with ExitStack() as stack:
        servers = Reading(peers, folder, stack)
        for number in range(arguments.rounds):
            servers.round(load, results, turns(peers, number), arguments.seconds)
    return list(reading.lines(results))


def measure_writing(arguments: argparse.Namespace, folder: Path, load: Load) -> list[Line]:
    """The lines of uploads and of a large wheel back."""
    peers, results = writers(arguments), Results()
    writing = Writing(folder, arguments.big)
    for number in range(arguments.rounds):
        for peer in turns(peers, number):
            writing.round(load, results, peer, number)
    return list(writing.lines(results))


def measure_memory(arguments: argparse.Namespace, folder: Path) -> list[Line]:
    """The lines of memory and of the wait for an answer."""
    peer, results = ExtraPyPI(arguments.database), Results()
    memory = Memory(folder, arguments.big, arguments.huge)
    for _ in range(arguments.rounds):
        memory.round(results, peer)
    return list(memory.lines(results))

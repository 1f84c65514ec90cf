"""Many clients at once: nothing fails, no change and no download is lost, nothing grows."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from callers import Archive, Caller, archive, offered
from clients import Index
from conftest import empty_database
from peewee import fn

from extrapypi import database
from extrapypi.models import Download, File, Serial

CLIENTS = 16
KIB = 1024
SIZES = [2 * KIB] * 6 + [100 * KIB] * 3 + [700 * KIB]  # the largest are read as they come in
PAGES = (
    "/simple/",
    "/pypi/{}/json",
    "/dashboard/",
    "/dashboard/packages/{}/",
    "/dashboard/packages/{}/?tab=history",
    "/dashboard/search/?q={}",
    "/dashboard/journal/",
)
MORE_FILES = 10  # that may be open at the end; a connection to a database server is one
MORE_MEMORY = 32 * KIB  # KiB
WAIT = 600  # seconds for the slowest client
CROWDS = [  # database, uploads, downloads, seconds at least
    *(("sqlite", 96, 480, 0), ("postgresql", 96, 480, 0)),
    pytest.param("sqlite", 512, 5120, 120, marks=pytest.mark.long),
    pytest.param("postgresql", 512, 5120, 120, marks=pytest.mark.long),
]


class Sample(NamedTuple):
    """What the server's process has, while nobody asks for something."""

    files: int
    memory: int  # KiB
    threads: int

    @classmethod
    def of(cls, pid: int) -> Sample:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":\t") for line in lines if ":\t" in line)
        memory, threads = int(status["VmRSS"].split()[0]), int(status["Threads"])
        return cls(len(os.listdir(f"/proc/{pid}/fd")), memory, threads)


def is_broken(error: BaseException | None) -> bool:
    """Whether it only tells that another client has failed, or none did."""
    return error is None or isinstance(error, threading.BrokenBarrierError)


class Crowd:
    """What 16 clients do, each in its own project, and what has to come of it."""

    def __init__(self, index: Index, uploads: int, downloads: int, seconds: float) -> None:
        self.index = index
        self.uploads, self.downloads = uploads // CLIENTS, downloads // CLIENTS
        self.seconds = seconds
        self.samples: list[Sample] = []
        self.rest = threading.Barrier(CLIENTS, self._sample)
        self.kept: list[Archive] = []
        self.raced: list[tuple[str, int]] = []
        self.downloaded: Counter[str] = Counter()
        self.changes = 0
        with Caller(index) as self.browser:
            self.browser.log_in()

    def _sample(self) -> None:
        self.samples.append(Sample.of(self.index.process.pid))

    def run(self) -> None:
        """Lets all clients in, to their end."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            clients = [threads.submit(self._client, number) for number in range(CLIENTS)]
            wait(clients)
            for done in sorted(clients, key=lambda each: is_broken(each.exception())):
                client = done.result()
                self.downloaded += client.downloaded
                self.raced += client.raced
                self.changes += client.changes

    def _client(self, number: int) -> Client:
        with Caller(self.index) as caller:
            caller.share(self.browser)
            client = Client(self, number, caller)
            try:
                for _ in range(2):  # after each half all stand still
                    client.half()
                    self.rest.wait(WAIT)
            except BaseException:
                self.rest.abort()
                raise
        return client


class Client:
    """One of them, who uploads now and then, and reads in between."""

    def __init__(self, crowd: Crowd, number: int, caller: Caller) -> None:
        self.crowd, self.number, self.caller = crowd, number, caller
        self.random = Random(number)
        self.uploads = self.changes = 0
        self.downloaded: Counter[str] = Counter()
        self.raced: list[tuple[str, int]] = []

    def half(self) -> None:
        """Half of what this client has to do, and more while there is time."""
        end = time.monotonic() + self.crowd.seconds / 2
        uploads, downloads = self.crowd.uploads // 2, self.crowd.downloads // 2
        for _ in range(uploads):
            self._change()
            for _ in range(downloads // uploads):
                self._read()
        while time.monotonic() < end:
            self._read()

    def _change(self) -> None:
        """An upload; what it brings is left alone, yanked for a moment, deleted, or races."""
        self.uploads += 1
        version = f"{self.uploads}.0"
        made = archive(self.random, f"own-{self.number}", version, self.random.choice(SIZES))
        answer = self.caller.upload(made)
        assert answer.status == 200, answer
        self.changes += 1
        [self._race, self._keep, self._yank, self._delete][self.uploads % 4](made)

    def _keep(self, made: Archive) -> None:
        self.crowd.kept.append(made)

    def _race(self, made: Archive) -> None:
        """Another upload, of a name that a neighbour wants for other bytes, too."""
        self._keep(made)
        wanted = archive(self.random, f"race-{self.number // 2}", made.version, 2 * KIB)
        answer = self.caller.upload(wanted)
        assert answer.status == 200 or b"already exists" in answer.body, answer
        self.raced.append((wanted.filename, answer.status))
        if answer.status == 200:
            self.changes += 1
            self._keep(wanted)

    def _yank(self, made: Archive) -> None:
        self._keep(made)
        for undo in (False, True):
            self.caller.yank(made.project, made.version, undo)
            self.changes += 1

    def _delete(self, made: Archive) -> None:
        self.caller.delete(made.project, made.version)
        self.changes += 2  # the rows, then the bytes

    def _read(self) -> None:
        """A file that is there for good, the page that lists it, and some other page."""
        if not self.crowd.kept:
            return
        wanted = self.random.choice(self.crowd.kept)
        assert self.caller.page(f"/simple/{wanted.project}/")["files"]
        answer = self.caller.ask(wanted.path, User_Agent="pip/26.3")
        assert answer.status == 200, answer
        assert answer.body == wanted.body
        self.downloaded[wanted.filename] += 1
        path = self.random.choice(PAGES).format(wanted.project)
        answer = self.caller.ask(path, **self.caller.cookie)
        assert answer.status == 200, (path, answer)


@pytest.mark.parametrize(("engine", "uploads", "downloads", "seconds"), CROWDS)
def test_nothing_fails_is_lost_or_grows_while_16_clients_do_all_at_once(
    engine, uploads, downloads, seconds, tmp_path, request
):
    url = empty_database(request, engine, tmp_path)
    index = Index(tmp_path, f"DATABASE_URL = {url!r}", roles=())
    database.bind(url)
    before = Serial.get().value
    try:
        crowd = Crowd(index, uploads, downloads, seconds)
        crowd.run()
        with Caller(index) as caller:
            assert offered(caller) == {each.filename: each.sha256 for each in crowd.kept}
        assert index.stop() == 0
        index.command("check", "--deep")
        assert Serial.get().value - before == crowd.changes
        assert counted() == crowd.downloaded
    finally:
        index.stop()
        database.close()
    won = Counter(filename for filename, status in crowd.raced if status == 200)
    assert won == dict.fromkeys({filename for filename, _ in crowd.raced}, 1)
    middle, end = crowd.samples
    print(middle, end)
    assert end.threads == middle.threads
    assert end.files <= middle.files + MORE_FILES
    assert end.memory <= middle.memory + MORE_MEMORY


def counted() -> dict[str, int]:
    """How often each file went to a pip, as the database has it."""
    query = Download.select(File.filename, fn.SUM(Download.number)).join(File)
    rows = query.where(Download.client == "pip").group_by(File.filename).tuples()
    return {filename: int(number) for filename, number in rows}

"""Crashes: kill -9 while uploads and deletions are under way, and what is found afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from threading import Timer

import pytest
from archives_made import wheel_bytes
from callers import BROKEN, Archive, Caller, archive, offered
from clients import CHECKOUT, Index, isolated
from conftest import empty_database, upload

from extrapypi import checking, publishing
from extrapypi.app import create_app
from extrapypi.models import File
from extrapypi.storage import BaseStorage, get_store

KIB = 1024
# Bytes of the wheels of a round; from 512 KiB on a form is read while it comes in.
SIZES = [*[4 * KIB] * 12, *[200 * KIB] * 4, *[700 * KIB] * 3]
LARGEST = {"LocalStorage": 3000 * KIB, "S3Storage": 17_000 * KIB}  # which goes in parts
CLIENTS = 4
KILLED, NEVER = -signal.SIGKILL, "ping after 0"
FULL = 50  # kills, of each combination
COMBINATIONS = [  # database, storage, kills
    ("sqlite", "LocalStorage", 4),
    ("postgresql", "S3Storage", 2),
    *(
        pytest.param(database, storage, FULL, marks=pytest.mark.long)
        for database in ("sqlite", "postgresql")
        for storage in ("LocalStorage", "S3Storage")
    ),
]


class Crashing:
    """An index that is killed again and again, and what its clients know of it.

    ``listed`` has by name what it has to offer, ``unknown`` what an unanswered request was about.
    """

    def __init__(self, index: Index, random: Random, largest: int) -> None:
        self.index = index
        self.random = random
        self.sizes = [*SIZES, largest]
        self.number = 0
        self.listed: dict[str, Archive] = {}
        self.unknown: dict[str, Archive] = {}
        with Caller(index) as self.browser:
            self.browser.log_in()

    def round(self, seconds: float | None = None) -> float:
        """Uploads 20 wheels while those of the round before are deleted; the time that it took.

        :param seconds: when to kill the server, if it is to be killed.
        """
        jobs = self._jobs()
        started = time.monotonic()
        killer = Timer(seconds, self.index.kill) if seconds is not None else None
        if killer:
            killer.start()
        with ThreadPoolExecutor(CLIENTS) as threads:
            for client in [threads.submit(self._work, jobs) for _ in range(CLIENTS)]:
                client.result()
        taken = time.monotonic() - started
        if killer:
            killer.join()
        return taken

    def _jobs(self) -> SimpleQueue:
        """What is to be done: uploads to two projects, deletions one by one and all at once."""
        self.number += 1
        old = list(self.listed.values())
        new = [f"{name}-{self.number}" for name in ("one", "two")]
        wheels = [
            archive(self.random, new[number % 2], f"{number}.0", size, "*new*" * (number % 7 == 0))
            for number, size in enumerate(self.sizes)
        ]
        jobs: list[tuple] = [(self._upload, wheel) for wheel in wheels]
        jobs += [(self._delete, each) for each in old if each.project.startswith("one")]
        for project in {each.project for each in old if each.project.startswith("two")}:
            jobs.append((self._delete_project, *(e for e in old if e.project == project)))
        self.random.shuffle(jobs)
        waiting = SimpleQueue()
        for job in jobs:
            waiting.put(job)
        return waiting

    def _work(self, jobs: SimpleQueue) -> None:
        """Does one job after the other, until there is none or the server is no more."""
        with Caller(self.index) as caller, suppress(Empty, *BROKEN):
            caller.share(self.browser)
            while True:
                work, *archives = jobs.get_nowait()
                self.unknown.update({each.filename: each for each in archives})
                work(caller, *archives)
                for each in archives:
                    del self.unknown[each.filename]

    def _upload(self, caller: Caller, archive: Archive) -> None:
        answer = caller.upload(archive)
        assert answer.status == 200, answer
        self.listed[archive.filename] = archive

    def _delete(self, caller: Caller, archive: Archive) -> None:
        del self.listed[archive.filename]
        caller.delete(archive.project, archive.version)

    def _delete_project(self, caller: Caller, *archives: Archive) -> None:
        for each in archives:
            del self.listed[each.filename]
        caller.delete(archives[0].project)

    def recover(self) -> None:
        """Starts the server again; it has all that was answered, and names that were not are free.

        What no answer told of is there wholly or not at all.
        """
        self.index.start()
        with Caller(self.index) as caller:
            found = offered(caller)
            for filename, sha256 in found.items():
                assert sha256 == {**self.unknown, **self.listed}[filename].sha256
            assert self.listed.keys() <= found.keys()
            self.index.command("check", "--deep")
            for each in list(self.unknown.values()):
                self._upload(caller, each)
                del self.unknown[each.filename]


def age(storage: BaseStorage) -> None:
    """Makes the notes that uploads and deletions have left as old as they have to be."""
    for path, _ in storage.notes():
        os.utime(path, (0, 0), follow_symlinks=False)


def temporary(storage: BaseStorage) -> list[Path]:
    """The files that are on their way in, or were left so."""
    return [path for path in storage.spool.iterdir() if not path.is_symlink()]


@pytest.mark.parametrize(("engine", "driver", "kills"), COMBINATIONS)
def test_after_kill_9_every_listed_file_is_whole_and_no_name_is_stuck(
    engine, driver, kills, tmp_path, request
):
    seed = int(os.environ.get("SEED", time.time_ns()))
    print(f"SEED={seed}")  # repeats the wheels and the moments
    random = Random(seed)
    url = empty_database(request, engine, tmp_path)
    settings = f"DATABASE_URL = {url!r}\n"
    params = {"packages_root": str(tmp_path / "packages")}
    if driver == "S3Storage":
        server = request.getfixturevalue("object_store")
        params = server.params(server.new_bucket(), spool_folder=str(tmp_path / "spool"))
    settings += f"STORAGE = {driver!r}\nSTORAGE_PARAMS = {params!r}\n"
    index = Index(tmp_path, settings, roles=())
    storage = get_store(driver, params)
    try:
        crashing = Crashing(index, random, LARGEST[driver])
        taken = crashing.round()
        for _ in range(kills):
            crashing.round(random.uniform(0, taken))
            crashing.recover()
            assert temporary(storage) == []
        index.stop()
        age(storage)
        index.start()
        assert list(storage.spool.iterdir()) == []
        names = {location.rpartition("/")[2] for location, _ in storage.stored()}
        assert names == {f"{name}{end}" for name in crashing.listed for end in ("", ".metadata")}
        with Caller(index) as caller:
            assert offered(caller).keys() == crashing.listed.keys()
    finally:
        index.stop()
    assert "Traceback" not in index.log.read_text()


DYING = """
import os, signal
from extrapypi.s3 import S3Storage
from extrapypi.storage import LocalStorage

method, when, lives = os.environ["DIES"].split()
left = int(lives)

def mortal(kind):
    real = getattr(kind, method)

    def until_death(self, *arguments, **options):
        global left
        left -= 1
        if left or when == "after":
            done = real(self, *arguments, **options)
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return type("Mortal", (kind,), {method: until_death, "NAME": "Mortal"})

Local, S3 = mortal(LocalStorage), mortal(S3Storage)
"""


@pytest.fixture(params=["Local", "S3"])
def driver(request) -> str:
    """Where the files are."""
    return request.param


@pytest.fixture
def database_url(tmp_path) -> str:
    """Which database it is makes no difference here."""
    return f"sqlite:///{tmp_path}/index/extrapypi.db"


@pytest.fixture
def params(driver, request, tmp_path) -> dict:
    """The parameters of the storage."""
    if driver == "Local":
        return {"packages_root": str(tmp_path / "packages")}
    server = request.getfixturevalue("object_store")
    return server.params(server.new_bucket(), spool_folder=str(tmp_path / "spool"))


@pytest.fixture
def settings(settings, driver, params):
    """The settings of the test's index."""
    return {**settings, "STORAGE": f"{driver}Storage", "STORAGE_PARAMS": params}


@pytest.fixture
def process(tmp_path, driver, params):
    """A function that runs a command in a process that is killed at a step of the storage's."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "dying.py").write_text(DYING)

    def run(dies: str, *words: object) -> int:
        environment = {
            **isolated(tmp_path),
            "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{tmp_path / 'modules'}",
            "EXTRAPYPI_BASE_DIR": str(tmp_path / "index"),
            "EXTRAPYPI_STORAGE": f"dying:{driver}",
            "EXTRAPYPI_STORAGE_PARAMS": json.dumps(params),
            "DIES": dies,
        }
        command = [sys.executable, "-m", "extrapypi", *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        print(done.stdout, done.stderr)
        return done.returncode

    return run


@pytest.fixture
def listed(app, as_role) -> dict[str, bytes]:
    """What the index has: three wheels, by name."""
    wheels = [wheel_bytes("kept"), wheel_bytes("gone"), wheel_bytes("gone", "2.0")]
    for wheel in wheels:
        upload(as_role("developer"), *wheel)
    return dict(wheels)


def is_sound(storage: BaseStorage, listed: dict[str, bytes]) -> bool:
    """Whether nothing is wrong, and the index has these files, whole."""
    faults = [str(fault) for fault in checking.check(storage, deep=True)]
    assert faults == []
    assert {file.filename for file in File.select()} == listed.keys()
    return all(publishing.is_whole(storage, file) for file in File.select())


@pytest.fixture
def new(tmp_path) -> Path:
    """A folder with wheels that are not on the index."""
    folder = tmp_path / "new"
    folder.mkdir()
    for version in ("1.0", "2.0", "3.0"):
        filename, body = wheel_bytes("new", version)
        (folder / filename).write_bytes(body)
    return folder


STEPS = [  # where the command is killed, the command, the names that go or come
    ("prepare after 1", ["import", "new"], {}),
    ("create_release before 1", ["import", "new"], {}),
    ("create_release after 1", ["import", "new"], {}),
    ("delete_file before 1", ["delete", "gone", "--yes"], {"gone"}),
    ("delete_file after 1", ["delete", "gone", "--yes"], {"gone"}),
]


@pytest.mark.parametrize(("dies", "words", "going"), STEPS)
def test_what_a_kill_has_left_is_no_fault_and_gone_after_the_next_start(
    app, settings, listed, process, new, dies, words, going
):
    storage = app.site.storage
    words = [str(new) if word == "new" else word for word in words]
    assert process(dies, *words) == KILLED
    kept = {name: body for name, body in listed.items() if name.partition("-")[0] not in going}
    assert is_sound(storage, kept)
    age(storage)
    create_app(settings).close()
    assert list(storage.spool.iterdir()) == []
    assert is_sound(storage, kept)
    names = {location.rpartition("/")[2] for location, _ in storage.stored()}
    assert names == {f"{name}{end}" for name in kept for end in ("", ".metadata")}


def test_an_import_that_was_killed_goes_on_when_it_is_said_again(app, listed, process, new):
    assert process("create_release after 2", "import", new) == KILLED
    assert process(NEVER, "import", new) == 0
    everything = listed | {path.name: path.read_bytes() for path in new.iterdir()}
    assert is_sound(app.site.storage, everything)


@pytest.mark.parametrize("driver", ["Local"], indirect=True)
@pytest.mark.parametrize(
    "dies", ["set_aside before 1", "set_aside after 1", "create_release after 1"]
)
def test_a_repair_that_was_killed_is_completed_when_it_is_said_again(app, listed, process, dies):
    storage = app.site.storage
    kept, *gone = (storage.root / file.location for file in File.select().order_by(File.id))
    kept.rename(storage.root / "elsewhere.whl")
    kept.write_bytes(b"damaged")
    gone[0].with_name(f"{gone[0].name}.metadata").unlink()
    assert process(dies, "check", "--repair", "--deep") == KILLED
    assert process(NEVER, "check", "--repair", "--deep") == 0
    assert is_sound(storage, listed)
    aside = [path for path in (storage.root / ".aside").rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in aside) == sorted([b"damaged", kept.read_bytes()])

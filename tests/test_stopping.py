"""The end of a server: what comes to its end before it, and what no power cut can take."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from callers import Caller, archive
from clients import Index
from test_serving import CREDENTIALS, answer, connect, request, upload_request

from extrapypi import database
from extrapypi.models import Download, File

MIB = 1024**2
PATIENCE = 60  # seconds


def eventually(what, found) -> object:
    """What the function gives, as soon as it gives something."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return value


class Waitress(Index):
    """A running index."""

    def is_stopping(self) -> bool:
        """Whether it has begun to stop, and takes no new connection."""
        try:
            connect(self).close()
        except ConnectionRefusedError:
            return True
        return False


class Gunicorn(Index):
    """The same under gunicorn, with two processes."""

    PROGRAM = (
        *("gunicorn", "--workers", "2", "--threads", "4", "--graceful-timeout", str(PATIENCE)),
        *("--bind", "127.0.0.1:0", "extrapypi.wsgi:app"),
    )

    def _announced(self) -> str:
        listening = re.compile(r"Listening at: (http://\S+)")
        return eventually("listening", lambda: listening.search(self.log.read_text()))[1]

    def is_stopping(self) -> bool:
        """Whether it has begun to stop."""
        return "Handling signal: term" in self.log.read_text()


@pytest.fixture(params=[Waitress, Gunicorn])
def index(request, tmp_path):
    """A running index of the test's own, on both servers."""
    index = request.param(tmp_path, f"SHUTDOWN_TIMEOUT = {PATIENCE}", roles=())
    yield index
    index.stop()


def test_sigterm_lets_requests_come_to_their_end_and_loses_no_download(index, tmp_path):
    random = Random(1)
    small, large = (archive(random, name, "1.0", n * MIB) for name, n in (("a", 0), ("b", 40)))
    late = archive(random, "late", "1.0", MIB)
    for number in range(12):  # connections, so that each process has some
        with Caller(index) as caller:
            if number < 2:
                assert caller.upload((small, large)[number]).status == 200
            assert caller.ask(small.path).body == small.body
    whole = upload_request((late.filename, late.body))
    with connect(index) as reading, connect(index) as sending:
        reading.sendall(request(large.path, Authorization=f"Basic {CREDENTIALS}"))
        begun = reading.recv(1000)
        sending.sendall(whole[:-1000])
        incoming = tmp_path / "packages" / ".incoming"
        eventually("half an upload", lambda: list(incoming.iterdir()))
        index.process.send_signal(signal.SIGTERM)
        eventually("the stop", index.is_stopping)
        sending.sendall(whole[-1000:])
        assert answer(sending)[0] == "200 OK"
        with reading.makefile("rb") as stream:
            assert (begun + stream.read()).endswith(large.body)
    assert index.process.wait(PATIENCE) == 0
    database.bind(f"sqlite:///{tmp_path}/extrapypi.db")
    rows = Download.select(File.filename, Download.number).join(File).tuples()
    counted: Counter[str] = Counter()
    for filename, number in rows:
        counted[filename] += number
    assert counted == {small.filename: 12, large.filename: 1}
    assert File.get(File.filename == late.filename).sha256 == late.sha256
    database.close()


@contextmanager
def calls(pid: int, path: Path) -> Iterator[list[str]]:
    """A list that has, after the block, the system calls that were done to reach the disk.

    They stand in the order in which they ended, but for what was sent, which stands where that
    began.
    """
    kinds = "trace=fsync,fdatasync,/^rename,/^mkdir,pwrite64,sendto"
    words = ["strace", "-f", "-y", "-s", "300", "-e", kinds, "-o", str(path), "-p", str(pid)]
    found: list[str] = []
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as strace:
        try:
            if "attached" not in (said := strace.stderr.readline()):
                pytest.skip(f"strace is not allowed here: {said}")
            yield found
        finally:
            strace.send_signal(signal.SIGINT)
    begun: dict[str, str] = {}
    for line in path.read_text().splitlines():
        thread, call = line.split(maxsplit=1)
        is_begin, is_end = call.endswith("<unfinished ...>"), call.startswith("<... ")
        if is_begin:
            begun[thread] = call
        elif is_end:
            call = begun.pop(thread)
        if not (is_end if call.startswith("sendto") else is_begin):
            found.append(call)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("index", [Waitress], indirect=True)
def test_what_is_answered_with_200_has_reached_the_disk(index, tmp_path):
    made = archive(Random(1), "made", "1.0", 5000)
    root = tmp_path / "packages"
    folder = root / "made"
    with calls(index.process.pid, tmp_path / "calls") as told, Caller(index) as caller:
        assert caller.upload(made).status == 200

    def order(pattern: str, start: int = 0) -> int:
        """The place of the first such call from there on."""
        return next(n for n in range(start, len(told)) if re.match(pattern, told[n]))

    for path in (folder / made.filename, folder / f"{made.filename}.metadata"):
        renamed = order(rf'rename.*"{re.escape(str(path))}"')
        temporary = re.search(r'"([^"]+)"', told[renamed])[1]
        assert order(rf"f(data)?sync\(\d+<{temporary}>") < renamed
        listed = order(rf"fsync\(\d+<{folder}>", renamed)
    assert order(rf"fsync\(\d+<{root}>", order(rf'mkdir.*"{folder}"')) < listed
    answered = order(r"sendto\(.*HTTP/1\.1 200")
    log = rf"\d+<{tmp_path}/extrapypi\.db-wal>"
    *_, written = (n for n in range(listed, answered) if re.match(rf"pwrite64\({log}", told[n]))
    assert order(rf"f(data)?sync\({log}", written) < answered

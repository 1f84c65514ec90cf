"""The forms of uploads that the server reads while they come in: no difference, but in time."""

from __future__ import annotations

import base64
import itertools
import resource
from contextlib import ExitStack
from random import Random

import pytest
from archives_made import wheel_bytes
from clients import ADMIN, INSTALLER, PASSWORDS, Index
from conftest import form_of, until
from sockets import answer, connect, request

from extrapypi.intake import MOST_EARLY

BASIC = base64.b64encode(f"{ADMIN}:{PASSWORDS[ADMIN]}".encode()).decode()
MET = f"Basic {BASIC}"  # what this server has seen before
blanks = itertools.count(2)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """A running index that has met the admin and the installer."""
    index = Index(tmp_path_factory.mktemp("index"), "MAX_UPLOAD_SIZE = 4 * 1024**2")
    ask(index, request("/simple/", Authorization=MET))
    ask(index, request("/simple/", Authorization=installer()))
    yield index
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


def installer() -> str:
    """The credentials of somebody who may not upload."""
    pair = f"{INSTALLER}:{PASSWORDS[INSTALLER]}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def unmet() -> str:
    """The admin's credentials, spelled as the server has never seen them."""
    return f"Basic{' ' * next(blanks)}{BASIC}"


def ask(index: Index, sent: bytes) -> tuple[str, dict[str, str], bytes]:
    """The answer to one request."""
    with connect(index) as connection:
        connection.sendall(sent)
        return answer(connection)


FORM = "multipart/form-data; boundary=b"


def form(filename: str, body: bytes, *more: tuple[str, bytes], **changes: str | None) -> bytes:
    """A form with a file, and more parts behind it."""
    fields = form_of(filename, body, **changes).items()
    parts = [(f'name="{name}"', text.encode()) for name, text in fields]
    return b"".join(
        b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), content)
        for head, content in (*parts, (f'name="content"; filename="{filename}"', body), *more)
    )


def post(body: bytes, authorization: str = MET, kind: str = FORM) -> bytes:
    """The request that uploads a form."""
    return request("/legacy/", "POST", body, Authorization=authorization, Content_Type=kind)


def in_between(index: Index) -> list[int]:
    """The sizes of the files that are on their way in."""
    folder = index.folder / "packages" / ".incoming"
    return [path.stat().st_size for path in folder.iterdir()]


def in_chunks(body: bytes, kind: str = FORM) -> bytes:
    """The same request with a body in chunks, which is read when all of it is there."""
    more = {"Transfer_Encoding": "chunked", "Authorization": MET, "Content_Type": kind}
    head = request("/legacy/", "POST", Content_Length="", **more)
    return head + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


LARGE = Random(1).randbytes(600_000)  # a smaller form is not read early
WHEEL = wheel_bytes("faulty", files={"data.bin": LARGE})
SECOND = ('name="content"; filename="second.whl"', b"x")
FAULTY = {
    "nothing": b"",
    "no form": LARGE,
    "no end": form(*WHEEL),
    "half a part": form(*WHEEL)[:-150],
    "no file": b"--b\r\nContent-Disposition: form-data; name=summary\r\n\r\n%s\r\n--b--\r\n"
    % (b"x" * 600_000),
    "two files": form(*WHEEL, SECOND) + b"--b--\r\n",
    "a wrong digest": form(*WHEEL, sha256_digest="0" * 64) + b"--b--\r\n",
    "another action": form(*WHEEL, **{":action": "submit"}) + b"--b--\r\n",
    "no UTF-8": form(*WHEEL, ('name="summary"', b"\xff")) + b"--b--\r\n",
    "a long field": form(*WHEEL, ('name="summary"', b"x" * 4_200_000)) + b"--b--\r\n",
    "too many parts": form(*WHEEL, *[('name="x"', b"")] * 1024) + b"--b--\r\n",
    "a large file": form("large-1.0-py3-none-any.whl", b"x" * 4_200_000) + b"--b--\r\n",
    "no wheel": form("faulty-1.0-py3-none-any.whl", b"x" * 600_000) + b"--b--\r\n",
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_gets_the_same_answer(index, fault):
    early, late = (ask(index, way(FAULTY[fault])) for way in (post, in_chunks))
    assert early[0] == late[0]
    assert early[0].startswith("4")
    assert early[2] == late[2]
    assert in_between(index) == []


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", ""])
def test_what_is_no_form_gets_the_same_answer(index, kind):
    early, late = ask(index, post(LARGE, MET, kind)), ask(index, in_chunks(LARGE, kind))
    assert early[0] == late[0]
    assert early[0].startswith("400 ")


def test_a_good_form_is_taken_either_way(index):
    for number, way in enumerate((post, in_chunks)):
        filename, body = wheel_bytes(f"good-{number}", files={"data.bin": LARGE})
        sent = way(form(filename, body) + b"--b--\r\nwhat follows is of no interest")
        assert ask(index, sent)[0] == "200 OK"
        _, _, got = ask(index, request(f"/packages/good-{number}/{filename}", Authorization=MET))
        assert got == body


def test_a_form_may_come_byte_by_byte(index):
    sent = post(form(*wheel_bytes("slow", files={"data.bin": LARGE})) + b"--b--\r\n", MET)
    with connect(index) as connection:
        for number in range(2000):
            connection.sendall(sent[number : number + 1])
        connection.sendall(sent[2000:-1000])
        for number in range(len(sent) - 1000, len(sent)):
            connection.sendall(sent[number : number + 1])
        assert answer(connection)[0] == "200 OK"


def test_who_may_not_upload_hears_that_and_not_what_is_wrong_with_the_form(index):
    own = wheel_bytes("own", files={"data.bin": LARGE})
    for body in (form(*own) + b"--b--\r\n", FAULTY["no form"]):
        assert ask(index, post(body, installer()))[0].startswith("403 ")
    assert in_between(index) == []


def test_the_file_is_there_while_it_comes_in_and_gone_when_the_client_is(index):
    sent = post(form("half-1.0-py3-none-any.whl", b"x" * 2_000_000) + b"--b--\r\n", MET)
    with connect(index) as connection:
        connection.sendall(sent[:-500_000])
        until(lambda: len(in_between(index)) == 1)
    until(lambda: in_between(index) == [])


def test_a_full_disk_is_507_and_the_server_goes_on(tmp_path):
    index = Index(tmp_path)
    try:
        ask(index, request("/simple/", Authorization=MET))
        resource.prlimit(index.process.pid, resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        large = form("large-1.0-py3-none-any.whl", b"x" * 5_000_000) + b"--b--\r\n"
        status, _, body = ask(index, post(large, MET))
        assert status.startswith("507 There is no room")
        assert body
        assert in_between(index) == []
        small = form(*wheel_bytes()) + b"--b--\r\n"
        assert ask(index, post(small, MET))[0] == "200 OK"
    finally:
        index.stop()


def test_only_so_many_forms_are_read_at_once(index):
    sent = post(form("half-1.0-py3-none-any.whl", b"x" * 700_000) + b"--b--\r\n", MET)
    with ExitStack() as stack:
        for _ in range(MOST_EARLY + 4):
            stack.enter_context(connect(index)).sendall(sent[:-1000])
        until(lambda: len(in_between(index)) == MOST_EARLY)
        ask(index, request("/ping"))
        assert len(in_between(index)) == MOST_EARLY
    until(lambda: in_between(index) == [])
    good = form(*wheel_bytes("after-many", files={"data.bin": LARGE})) + b"--b--\r\n"
    assert ask(index, post(good, MET))[0] == "200 OK"

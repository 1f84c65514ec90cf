"""Forms and bodies as weapons: too many parts, ends that never come, lengths that lie."""

from __future__ import annotations

import socket
import tracemalloc

import pytest
from test_early import MET, post
from test_serving import connect
from watched import CONTENT, GIB, MIB, NAME, WAYS, attacked, form, refusal, unharmed

from extrapypi.forms import FormReader
from extrapypi.storage import LocalStorage


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with attacked(tmp_path_factory.mktemp("index")) as index:
        yield index


def part(head: bytes, content: bytes = b"") -> bytes:
    return b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head, content)


FILE = b'name="content"; filename="%s"' % NAME.encode()
WHOLE = form((NAME, CONTENT))
FORMS = {  # body, what is said
    "100,000 fields": (part(b'name="x"') * 100_000 + b"--b--\r\n", "Maximum segment count"),
    "a field of 5 MB": (part(b'name="x"', b"x" * 5_000_000) + WHOLE, "more than 4194304"),
    "fields of 20 MB": (part(b'name="x"', b"x" * 4_000_000) * 5 + WHOLE, "more than 16777216"),
    "a file of 20 MB that is not kept": (
        part(b'name="x"; filename="x"', b"x" * 20_000_000) + WHOLE,
        "more than 16777216",
    ),
    "two contents": (part(FILE, CONTENT) + WHOLE, "two files named content"),
    "two contents of one name and no bytes": (part(FILE) + WHOLE, "two files named content"),
    "no end": (WHOLE[:-9], "cannot be read"),
    "no end of a header": (b"--b\r\nX: " + b"x" * 1_000_000, "cannot be read"),
    "no end of the headers": (b"--b\r\n" + b"X: x\r\n" * 100_000, "cannot be read"),
    "no start": (b"x" * 3_000_000, "cannot be read"),
    "line feeds": (WHOLE.replace(b"\r\n", b"\n"), "cannot be read"),
    "a header without a name": (b"--b\r\n: x\r\n\r\n\r\n" + WHOLE, "cannot be read"),
    "a header that starts folded": (b"--b\r\n x\r\n\r\n\r\n" + WHOLE, "cannot be read"),
    "a folded name": (
        part(b'name="content";\r\n filename="../%s"' % NAME.encode(), CONTENT) + b"--b--",
        "Missing :action",
    ),
    "an attachment": (WHOLE.replace(b"form-data", b"attachment"), "cannot be read"),
    "no disposition": (b"--b\r\nX: x\r\n\r\n\r\n" + WHOLE, "cannot be read"),
    "a length that is another": (part(FILE + b"\r\nContent-Length: 5", CONTENT), "cannot be read"),
    "a header that is not UTF-8": (part(b'name="\xff"') + WHOLE, "cannot be read"),
    "a text that is not UTF-8": (part(b'name="x"', b"\xff") + WHOLE, "is not UTF-8"),
    "UTF-8 of half a pair": (part(b'name="x"', b"\xed\xa0\x80") + WHOLE, "is not UTF-8"),
}


@pytest.mark.parametrize("rest", **WAYS)
@pytest.mark.parametrize(("body", "phrase"), FORMS.values(), ids=FORMS)
def test_a_form_that_is_none_is_refused(index, body, phrase, rest):
    assert phrase in refusal(index, post(body + rest, MET))


@pytest.mark.parametrize("rest", **WAYS)
def test_a_length_that_is_too_short_cuts_the_form_off(index, rest):
    sent = post(WHOLE + rest, MET)
    short = sent.replace(b"Content-Length: %d" % len(WHOLE + rest), b"Content-Length: %d" % 700)
    assert "cannot be read" in refusal(index, short)


@pytest.mark.parametrize("rest", **WAYS)
def test_a_whole_form_that_is_said_to_go_on_is_not_taken(index, rest):
    with unharmed(index), connect(index) as connection:
        connection.sendall(post(WHOLE + rest + b"x", MET)[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""  # closed, and no answer before that


def test_a_body_in_chunks_has_the_length_of_its_chunks(index):
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE) - 9, WHOLE[:-9])
    head = post(b"", MET).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert "cannot be read" in refusal(index, head + chunked)


def test_a_form_that_comes_in_tiny_pieces_takes_little_memory(tmp_path):
    kind = "multipart/form-data; boundary=b"
    storage = LocalStorage(str(tmp_path))
    reader = FormReader(storage, GIB, content_type=kind, content_length=-1)
    sent = part(b'name="x"', b"ab" * 30_000) + part(FILE, b"ab" * 30_000)
    tracemalloc.start()
    for at in range(0, len(sent), 2):
        for _ in reader.take(sent[at : at + 2]):
            pass
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    reader.discard()
    assert taken < MIB // 2

"""Files: whole and in parts, conditional, for ever the same."""

from __future__ import annotations

import hashlib

import pytest
from archives_made import wheel_bytes
from conftest import upload

NAME, BODY = wheel_bytes()
URL = f"/packages/demo-pkg/{NAME}"
TAG = f'"{hashlib.sha256(BODY).hexdigest()}"'


@pytest.fixture
def client(as_role):
    """A client that may install, beside an index with one wheel."""
    upload(as_role("developer"), NAME, BODY)
    return as_role("installer")


@pytest.mark.parametrize("url", [URL, f"/simple/demo-pkg/{NAME}"])
def test_a_file_is_sent_whole_with_the_headers_that_let_clients_keep_it(client, url):
    answer = client.get(url, headers={"Accept-Encoding": "gzip"})
    assert answer.body == BODY
    assert answer.headers["Content-Length"] == str(len(BODY))
    assert answer.headers["ETag"] == TAG
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Encoding" not in answer.headers
    assert "Content-Disposition" not in answer.headers


def test_with_anonymous_read_files_are_public(settings, request):
    settings["ANONYMOUS_READ"] = True
    client = request.getfixturevalue("client")
    client.authorization = None
    answer = client.get(URL)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    client.authorization = ("Basic", ("installer", "wrong"))
    client.get(URL, status=401)
    client.authorization = None
    upload(client, status=401)


SIZE = len(BODY)
RANGES = [
    ("bytes=0-9", (0, 10)),
    ("bytes=10-", (10, SIZE)),
    ("bytes=-10", (SIZE - 10, SIZE)),
    ("bytes=-10000", (0, SIZE)),
    (f"bytes=5-{SIZE + 100}", (5, SIZE)),
    ("bytes=0-0", (0, 1)),
    (f"bytes={SIZE - 1}-", (SIZE - 1, SIZE)),
]


@pytest.mark.parametrize(("header", "part"), RANGES)
def test_a_range_is_answered_with_its_bytes(client, header, part):
    answer = client.get(URL, headers={"Range": header}, status=206)
    start, stop = part
    assert answer.body == BODY[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(stop - start)
    assert answer.headers["ETag"] == TAG


@pytest.mark.parametrize("header", [f"bytes={SIZE}-", f"bytes={SIZE + 5}-{SIZE + 9}", "bytes=-0"])
def test_a_range_outside_is_416(client, header):
    answer = client.get(URL, headers={"Range": header}, status=416)
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "header", ["bytes=5-2", "bytes=a-b", "bytes=-", "bytes=0-1,3-4", "lines=0-9", "bytes", ""]
)
def test_what_is_no_single_range_is_ignored(client, header):
    assert client.get(URL, headers={"Range": header}, status=200).body == BODY


def test_if_range_allows_a_part_only_of_the_same_bytes(client):
    headers = {"Range": "bytes=0-9", "If-Range": TAG}
    assert client.get(URL, headers=headers, status=206).body == BODY[:10]
    headers["If-Range"] = '"other"'
    assert client.get(URL, headers=headers, status=200).body == BODY


def test_who_has_the_file_gets_304(client):
    modified = client.get(URL).headers["Last-Modified"]
    for headers in ({"If-None-Match": TAG}, {"If-Modified-Since": modified}):
        answer = client.get(URL, headers=headers, status=304)
        assert answer.headers["ETag"] == TAG
    client.get(URL, headers={"If-None-Match": '"other"', "If-Modified-Since": modified}, status=200)
    client.get(URL, headers={"If-Modified-Since": "no date"}, status=200)


def test_head_has_the_length_of_the_file(client):
    answer = client.head(URL)
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_metadata_is_text_that_clients_keep(client):
    answer = client.get(URL + ".metadata", headers={"Accept-Encoding": "identity"})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert b"Name: demo-pkg" in answer.body
    client.get(URL + ".metadata", headers={"If-None-Match": answer.headers["ETag"]}, status=304)


@pytest.mark.parametrize(
    ("sendfile", "header", "value"),
    [
        ("nginx", "X-Accel-Redirect", f"/_extrapypi_files/demo-pkg/{NAME}"),
        ("apache", "X-Sendfile", "{root}/demo-pkg/" + NAME),
    ],
)
def test_a_front_server_can_send_the_bytes(settings, request, sendfile, header, value):
    settings |= {"SENDFILE": sendfile, "TRUSTED_PROXY": "127.0.0.1"}
    client = request.getfixturevalue("client")
    answer = client.get(URL)
    root = request.getfixturevalue("app").site.storage.root
    assert answer.headers[header] == value.format(root=root)
    assert answer.body == b""
    client.extra_environ["REMOTE_ADDR"] = "10.0.0.1"  # who goes round the proxy gets the bytes
    assert client.get(URL).body == BODY


def test_a_file_that_is_gone_from_the_disk_is_503_with_a_sentence(client, app):
    (app.site.storage.root / "demo-pkg" / NAME).unlink()
    answer = client.get(URL, status=503)
    assert "not in the storage" in answer.status
    assert answer.headers["Retry-After"] == "5"

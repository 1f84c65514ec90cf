"""Uploads as weapons: each is refused in time, in little memory, and leaves no trace."""

from __future__ import annotations

import base64
import hashlib
import re
import tarfile
import tracemalloc
from html import unescape

import pytest
from archives_made import sdist_bytes, wheel_bytes, zip_bytes
from bombs import (
    METADATA,
    behind_the_end,
    ended,
    gzip_of,
    listed,
    local,
    one_over_the_other,
    two_ends,
    understated,
    zeros,
    zip_of,
)
from browsers import TOKEN
from clients import ADMIN, PASSWORDS
from conftest import upload
from test_archives import BAD_SDISTS, BAD_WHEELS, PARTS, header, special
from test_early import MET, ask, post
from test_serving import request
from test_upload_page import form_bytes
from watched import (
    CONTENT,
    GIB,
    LATER,
    MIB,
    NAME,
    WAYS,
    attacked,
    form,
    little_memory,
    refusal,
    unharmed,
)

from extrapypi.models import Release

SDIST = sdist_bytes()[0]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    with attacked(tmp_path_factory.mktemp("index")) as index:
        yield index


NAMES = {
    "slash": f"a/{NAME}",
    "parent": f"../{NAME}",
    "absolute": f"/etc/{NAME}",
    "backslash": f"a\\{NAME}",
    "percent": f"..%2f{NAME}",
    "fraction slash": f"..\u2044{NAME}",
    "stream": f"{NAME}:x",
    "NUL": f"demo_pkg-1.0\0-{NAME}",
    "escape": f"\x1b[2J{NAME}",
    "bell": "demo_pkg-1.0-py3-none-any\x07.whl",
    "delete": f"{NAME}\x7f",
    "C1 control": f"\x85{NAME}",
    "CR LF": f"demo%0D%0ASet-Cookie: a=b%0D%0A%0D%0A{NAME}",
    "line feed": f"{NAME}%0A",
    "tab": "demo_pkg-1.0\t-py3-none-any.whl",
    "space": f"{NAME} ",
    "no-break space": "demo_pkg-1.0\xa0-py3-none-any.whl",
    "full width": "\uff44emo_pkg-1.0-py3-none-any.whl",
    "full width digit": "demo_pkg-\uff11.0-py3-none-any.whl",
    "Cyrillic": "d\u0435mo_pkg-1.0-py3-none-any.whl",
    "Kelvin": "\u212aelvin-1.0-py3-none-any.whl",
    "long s": "demo_pkg-1.0po\u017ft1-py3-none-any.whl",
    "combining": "de\u0301mo_pkg-1.0-py3-none-any.whl",
    "right to left": "demo_pkg-1.0-py3-none-any\u202elhw.exe.whl",
    "zero width": "demo\u200b_pkg-1.0-py3-none-any.whl",
    "outside the BMP": "\U0001d555emo_pkg-1.0-py3-none-any.whl",
    "300 characters": f"{'d' * 275}-1.0-py3-none-any.whl",
    "8000 characters": f"{'d' * 8000}.whl",
    "CON": "CON",
    "NUL device": "NUL.tar.gz",
    "AUX": "aux.whl",
    "COM1": "COM1.zip",
    "dot": ".",
    "dots": "..",
    "only an end": ".whl",
    "hidden": f".{NAME}",
    "dot at the end": f"{NAME}.",
    "sidecar": f"{NAME}.metadata",
    "wildcard": "*.whl",
    "option": f"--{NAME}",
    "pipe": f"|{NAME}",
    "HTML": f"<b>{NAME}",
}


@pytest.mark.parametrize("called", NAMES.values(), ids=NAMES)
def test_a_name_that_is_none_of_a_distribution_is_refused(index, called):
    said = refusal(index, post(form((NAME, CONTENT), called=called), MET))
    assert re.search("file name|wheels and sdists only", said)
    assert len(said) < 400


def test_the_upload_page_refuses_such_names_one_by_one_and_shows_them_as_text(index):
    login = f"username={ADMIN}&password={PASSWORDS[ADMIN]}".encode()
    kind = {"Content_Type": "application/x-www-form-urlencoded"}
    _, headers, _ = ask(index, request("/dashboard/login", "POST", login, **kind))
    cookie = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
    _, _, page = ask(index, request("/dashboard/upload/", **cookie))
    body = form_bytes(TOKEN.search(page.decode())[1], *((each, CONTENT) for each in NAMES.values()))
    kind = {"Content_Type": "multipart/form-data; boundary=b"}
    with unharmed(index):
        status, _, page = ask(index, request("/dashboard/upload/", "POST", body, **kind, **cookie))
    assert status.startswith("400 ")
    assert f"0 of {len(NAMES)} files are on the index" in unescape(page.decode())
    assert b"<b>demo" not in page


@pytest.mark.parametrize("rest", **WAYS)
def test_an_unsound_archive_leaves_no_trace(index, rest):
    archives = [(NAME, *bad) for bad in BAD_WHEELS.values()]
    archives += [(SDIST, *bad) for bad in BAD_SDISTS.values()]
    for filename, data, phrase in archives:
        assert phrase in refusal(index, post(form((filename, data)) + rest, MET))


PKG_INFO = special(b"0", "demo_pkg-1.0/PKG-INFO", size=GIB).tobuf(tarfile.GNU_FORMAT)
WEAPONS = {  # file name, how the file is made, what is said of it
    "1 GB of zeros": (NAME, lambda: zip_of(("z", zeros(GIB), GIB)), "50 times"),
    "1 GB METADATA": (NAME, lambda: zip_of((METADATA, zeros(GIB), GIB)), "50 times"),
    "1 GB METADATA that says 100 bytes": (
        NAME,
        lambda: understated(zeros(GIB), 100),
        "more than",
    ),
    "1 GB PKG-INFO": (SDIST, lambda: gzip_of(PKG_INFO, GIB), "more than"),
    "1 GB in an sdist": (SDIST, lambda: gzip_of(header(b"0", GIB), GIB), "50 times"),
    "1 GB behind an sdist": (SDIST, lambda: gzip_of(bytes(1024), GIB), "50 times"),
    "100,001 members": (
        NAME,
        lambda: zip_of(*((f"{n}", b"", 0) for n in range(100_001))),
        "100000",
    ),
    "members one over the other": (NAME, one_over_the_other, "an overlap"),
    "one member 1,000 times": (
        NAME,
        lambda: ended(local("z", 2, 0) + b"\3\0", *[listed("z", 2, 0, 0)] * 1000),
        "twice",
    ),
    "a member behind the end of all files": (NAME, lambda: behind_the_end(2**63, 0), "an overlap"),
    "one that no disk reaches": (NAME, lambda: behind_the_end(2**62, 2 * MIB), "an overlap"),
    "two ends": (NAME, lambda: two_ends(CONTENT), "an overlap"),
}


@pytest.mark.parametrize(("filename", "make", "phrase"), WEAPONS.values(), ids=WEAPONS)
def test_a_bomb_goes_off_nowhere(index, filename, make, phrase):
    archive = filename, make()
    for rest in (b"", LATER):
        assert phrase in refusal(index, post(form(archive) + rest, MET))


def test_an_archive_in_an_archive_is_not_opened(index):
    bomb = zip_of(("z", zeros(GIB), GIB))
    with little_memory(index):
        sent = post(form(wheel_bytes("nested", files={"bomb.zip": bomb, "42.gz": bomb})), MET)
        assert ask(index, sent)[0] == "200 OK"


FOLDED = {  # METADATA, the field that is wrong
    "a name in two lines": ("Name: demo\n -pkg\nVersion: 1.0\n", "Name is"),
    "a name in the next line": ("Name:\n demo-pkg\nVersion: 1.0\n", "Name is"),
    "a name and a line of blanks": ("Name: demo-pkg\n \nVersion: 1.0\n", "Name is"),
    "a blank before the colon": ("Name : demo-pkg\nVersion: 1.0\n", "Name is missing"),
    "a name behind a CR": ("Name: demo-pkg\rName: other\nVersion: 1.0\n", "2 times"),
    "an end by CR": ("Name: demo-pkg\r\r\nVersion: 1.0\n", "Version is missing"),
    "a name behind a form feed": ("Name: demo-pkg\fName: other\nVersion: 1.0\n", "Name is"),
    "names in two spellings": ("Name: demo-pkg\nNAME: other\nVersion: 1.0\n", "2 times"),
    "a field with a Cyrillic a": ("N\u0430me: demo-pkg\nVersion: 1.0\n", "Name is missing"),
    "an encoded word": ("Name: =?utf-8?q?demo-pkg?=\nVersion: 1.0\n", "Name is"),
    "an envelope": ("From x\nName: demo-pkg\nVersion: 1.0\n", "Name is missing"),
    "a body first": ("\nName: demo-pkg\nVersion: 1.0\n", "Name is missing"),
    "a line separator": ("Name: demo-pkg\nVersion: 1.0\nSummary: a\u2028b\n", "Summary is"),
    "a full width version": ("Name: demo-pkg\nVersion: \uff11.0\n", "Version is"),
    "a version of two lines": ("Name: demo-pkg\nVersion: 1.0\n 2.0\n", "Version is"),
}


@pytest.mark.parametrize(("text", "phrase"), FOLDED.values(), ids=FOLDED)
def test_metadata_that_can_be_read_in_two_ways_is_refused(index, text, phrase):
    files = {METADATA: f"Metadata-Version: 2.1\n{text}"}
    assert phrase in refusal(index, post(form((NAME, zip_bytes({**PARTS, **files}))), MET))


BLANKS = " \n" * 200_000 + " y\n"  # behind the last line blanks would be cut off
SLOW = {  # METADATA that some reader needs long for
    "blank lines in a text": f"License: x\n{BLANKS}",
    "blank lines in the description": f"Description: x\n{BLANKS}",
    "specifiers": f"Requires-Dist: a{','.join(['>=1'] * 1000)}\n" * 200,
    "markers": f"Requires-Dist: a; {' or '.join(['os_name==0'] * 250)}\n".replace("0", "''") * 200,
    "extras": f"Requires-Dist: a[{','.join('a' * 2000)}]\n" * 200,
    "signs that grow in HTML": "\n" + "&" * 4_000_000,
    "signs of four bytes": "\n" + "\U0001f600" * 1_000_000,
}


@pytest.mark.parametrize("what", SLOW)
def test_metadata_that_takes_long_to_read_is_read_in_time_and_in_little_memory(index, what):
    archive = wheel_bytes(what.replace(" ", "-"), metadata_extra=SLOW[what])
    with little_memory(index):
        assert ask(index, post(form(archive), MET))[0][:3] in ("200", "400")


def test_a_long_description_is_stored_on_all_databases_and_not_read_for_a_list_of_files(as_role):
    filename, body = wheel_bytes(description="&" * 4_000_000)  # five times as long in HTML
    assert upload(as_role("developer"), filename, body).status_int == 200
    client = as_role("installer")
    client.get("/simple/")
    tracemalloc.start()
    page = client.get("/simple/demo-pkg/")
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert filename in page
    assert taken < 2 * MIB
    assert len(Release.get().rendered) < 6 * MIB


def test_no_depth_of_brackets_is_too_deep_for_one_reader_and_not_for_the_next(index):
    for depth in range(80, 450, 15):
        marker = "''<''and(" * depth + "''<''" + ")" * depth
        archive = wheel_bytes("deep", f"1.{depth}", requires_dist=[f"a; {marker}"])
        assert ask(index, post(form(archive), MET))[0][:3] in ("200", "400")


SHA256 = hashlib.sha256(CONTENT).digest()
MD5 = hashlib.md5(CONTENT)
DIGESTS = {
    "one digit less": {"sha256_digest": SHA256.hex()[:-1]},
    "one digit more": {"sha256_digest": SHA256.hex() + "0"},
    "in base64": {"sha256_digest": base64.b64encode(SHA256).decode()},
    "in two words": {"sha256_digest": f"{SHA256.hex()[:32]} {SHA256.hex()[32:]}"},
    "with a prefix": {"sha256_digest": f"sha256={SHA256.hex()}"},
    "as a number": {"sha256_digest": f"0x{SHA256.hex()}"},
    "full width": {
        "sha256_digest": SHA256.hex().translate(dict(enumerate(range(65296, 65306), 48)))
    },
    "of nothing": {"sha256_digest": hashlib.sha256().hexdigest()},
    "of another kind": {"sha256_digest": hashlib.sha3_256(CONTENT).hexdigest()},
    "blake2s": {"blake2_256_digest": hashlib.blake2s(CONTENT).hexdigest()},
    "blake2b cut off": {"blake2_256_digest": hashlib.blake2b(CONTENT).hexdigest()[:64]},
    "blake2b in base64": {
        "blake2_256_digest": base64.b64encode(
            hashlib.blake2b(CONTENT, digest_size=32).digest()
        ).decode()
    },
    "sha256 as md5": {"md5_digest": SHA256.hex()},
    "md5 as sha256": {"sha256_digest": MD5.hexdigest()},
    "md5 in upper case base64": {"md5_digest": base64.b64encode(MD5.digest()).decode().upper()},
    "the second of two": {"md5_digest": "0" * 32},
}


@pytest.mark.parametrize("rest", **WAYS)
@pytest.mark.parametrize("changes", DIGESTS.values(), ids=DIGESTS)
def test_a_digest_of_something_else_is_refused(index, changes, rest):
    said = refusal(index, post(form((NAME, CONTENT), **changes) + rest, MET))
    assert f"Form field {next(iter(changes))} is " in said
    assert "the file that arrived has" in said

"""Asking another index: credentials, redirects, limits, and what goes wrong on the way."""

from __future__ import annotations

import base64
import gzip
import hashlib

import pytest
from sites import Answer, site

from extrapypi import otherindex
from extrapypi.errors import ExtraPyPIError, InvalidInput, NotLoggedIn, TooLarge, Unavailable
from extrapypi.otherindex import OtherIndex
from extrapypi.otherpages import Link
from extrapypi.storage import LocalStorage

LIMIT = 1_000_000  # bytes
BODY = b"the bytes of a file" * 1000


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """Tries come at once, and nothing of this machine's settings counts."""
    monkeypatch.setattr(otherindex, "RETRIES", otherindex.RETRIES.new(backoff_factor=0))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def other():
    """The site of the other index, which has one project."""
    with site() as made:
        made.html("/simple/", '<a href="demo-pkg/">demo-pkg</a>')
        yield made


@pytest.fixture
def elsewhere():
    """Another host."""
    with site() as made:
        yield made


@pytest.fixture
def storage(tmp_path):
    return LocalStorage(str(tmp_path / "packages"))


@pytest.fixture
def index(other):
    with OtherIndex(f"{other.url}/simple") as index:
        yield index


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def downloaded(index: OtherIndex, storage: LocalStorage, url: str, **hashes: str) -> bytes:
    """The bytes of a file that was downloaded."""
    incoming, _ = index.download(Link("demo-1.0.tar.gz", url, hashes), storage, LIMIT)
    incoming.stream.seek(0)
    body = incoming.stream.read()
    incoming.discard()
    return body


def nothing_left(storage: LocalStorage) -> bool:
    return not any(storage.incoming.iterdir())


def test_the_final_slash_may_be_left_out_and_pip_s_accept_is_sent(index, other):
    assert index.projects() == ["demo-pkg"]
    assert other.paths == ["/simple/"]


def test_user_name_and_password_of_the_url_are_decoded_and_sent(other):
    url = other.url.replace("//", "//an%40na:p%C3%A4ss%2F%3A@")
    with OtherIndex(f"{url}/simple/") as index:
        index.projects()
    assert other.asked[0].authorization == basic("an@na:päss/:")
    assert "@" not in index.url


def test_without_any_in_the_url_the_credentials_of_netrc_are_sent(other, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password secret")
    with OtherIndex(f"{other.url}/simple/") as index:
        index.projects()
    assert other.asked[0].authorization == basic("anna:secret")


@pytest.mark.parametrize("text", ["machine", "machine elsewhere.example login a password b"])
def test_a_netrc_that_is_of_no_use_is_none(other, tmp_path, text):
    (tmp_path / "netrc").write_text(text)
    with OtherIndex(f"{other.url}/simple/") as index:
        index.projects()
    assert other.asked[0].authorization is None


def test_no_other_host_gets_the_credentials(other, elsewhere, storage):
    other.answer("/moved", Answer(status=302, headers={"Location": f"{elsewhere.url}/file"}))
    elsewhere.answer("/file", Answer(BODY))
    elsewhere.answer("/back", Answer(status=307, headers={"Location": f"{other.url}/file"}))
    other.answer("/file", Answer(BODY))
    with OtherIndex(other.url.replace("//", "//anna:secret@")) as index:
        for url in (f"{other.url}/moved", f"{elsewhere.url}/file", f"{elsewhere.url}/back"):
            assert downloaded(index, storage, url) == BODY
    assert [asked.authorization for asked in elsewhere.asked] == [None] * 3
    assert [asked.authorization for asked in other.asked] == [basic("anna:secret")] * 2


def test_an_index_that_asks_for_credentials_is_one_sentence(index, other):
    other.answer("/simple/", Answer(status=401))
    with pytest.raises(NotLoggedIn, match=r"asks for a user name and a password.*~/\.netrc"):
        index.projects()
    with (
        OtherIndex(f"{other.url.replace('//', '//anna:secret@')}/simple/") as refused,
        pytest.raises(NotLoggedIn, match="does not take this user name") as told,
    ):
        refused.projects()
    assert "secret" not in str(told.value)


def test_another_host_that_asks_for_credentials_is_named(index, other, elsewhere):
    other.answer("/simple/", Answer(status=301, headers={"Location": f"{elsewhere.url}/simple/"}))
    elsewhere.answer("/simple/", Answer(status=401))
    with pytest.raises(InvalidInput, match=f"{elsewhere.url}/simple/ asks for .* which only"):
        index.projects()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://anna:secret@host.example/",
        "anna:secret@host.example",
        "http://",
        "http://anna:sec/ret@host.example:port/",
        "http://anna:12/ret@host.example/simple/",
        "http://anna:12?ret@host.example/simple/",
        "http://anna:12#ret@host.example/simple/",
        "http://anna:se\nc/ret@host.example/simple/",
        "http://anna:secret@[::1/",
        "http://anna:secret@host.example:99999/",
        "/simple/",
        "",
    ],
)
def test_what_is_no_url_of_an_index_is_refused_without_its_password(url):
    with pytest.raises(InvalidInput, match="is no URL of an index; it is https://") as told:
        OtherIndex(url)
    assert "ret@" not in str(told.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_links_start_at_their_end(index, other, status):
    other.answer("/simple/", Answer(status=status, headers={"Location": "../new/simple/"}))
    other.html("/new/simple/", '<a href="moved-pkg/">x</a>')
    assert index.projects() == ["moved-pkg"]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/simple/", "redirects more than 5 times"),
        ("file:///etc/passwd", "no URL of the web"),
        ("http://[", "no URL of the web"),
        ("http://127.0.0.1:1/\x1b[31m", "does not answer"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_one_sentence(index, other, location, words):
    other.answer("/simple/", Answer(status=302, headers={"Location": location}))
    with pytest.raises(InvalidInput, match=words) as told:
        index.projects()
    assert str(told.value).isprintable()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_is_busy_for_a_moment_is_asked_again(index, other, status):
    page = Answer(b'<a href="demo-pkg/">', headers={"Content-Type": "text/html"})
    other.answer("/simple/", Answer(status=status), Answer(status=status), page)
    assert index.projects() == ["demo-pkg"]


def test_an_index_that_stays_away_ends_everything_and_another_host_does_not(
    index, other, elsewhere, storage
):
    for where in (other, elsewhere):
        where.answer("/file", Answer(status=503))
    with pytest.raises(Unavailable, match="answers with status 503"):
        downloaded(index, storage, f"{other.url}/file")
    with pytest.raises(InvalidInput, match="answers with status 503"):
        downloaded(index, storage, f"{elsewhere.url}/file")
    assert nothing_left(storage)


def test_nobody_at_the_other_end_is_one_sentence(storage):
    with site() as gone:
        url = gone.url
    with OtherIndex(url) as index:
        with pytest.raises(Unavailable, match=f"{url}/ does not answer: Connection refused."):
            index.projects()
        with pytest.raises(InvalidInput, match=r"http://127\.0\.0\.1:1/x does not answer: "):
            downloaded(index, storage, "http://127.0.0.1:1/x?secret")


@pytest.mark.parametrize("status", [204, 206, 300, 400, 403, 404, 410, 500])
def test_any_other_answer_is_one_sentence(index, other, status):
    other.answer("/simple/", Answer(status=status))
    with pytest.raises(InvalidInput, match=f"/simple/ answers with status {status}"):
        index.projects()


def test_a_body_that_breaks_off_is_asked_for_again(index, other, storage):
    cut = Answer(BODY[:-1], headers={"Content-Length": str(len(BODY))})
    other.answer("/file", cut, cut, Answer(BODY))
    assert downloaded(index, storage, f"{other.url}/file") == BODY
    other.answer("/file", cut)
    with pytest.raises(InvalidInput, match=f"demo-1.0.tar.gz breaks off after {len(BODY) - 1}"):
        downloaded(index, storage, f"{other.url}/file")
    assert nothing_left(storage)


def endless(write) -> None:
    while True:
        write(b"<!-- -->" * 1000)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(endless, headers={"Content-Type": "text/html"}), id="endless"),
        pytest.param(Answer(b"", headers={"Content-Length": str(10**30)}), id="announced"),
        pytest.param(
            Answer(
                gzip.compress(b"<!-- -->" * 10**6),
                headers={"Content-Type": "text/html", "Content-Encoding": "gzip"},
            ),
            id="unpacked",
        ),
    ],
)
def test_a_page_has_its_limit(index, other, answer, monkeypatch):
    monkeypatch.setattr(otherindex, "MAX_LIST", LIMIT)
    monkeypatch.setattr(otherindex, "MAX_PAGE", LIMIT - 1)
    other.answer("/simple/", answer)
    with pytest.raises(TooLarge, match=f"The page {other.url}/simple/ is larger than {LIMIT}"):
        index.projects()
    other.answer("/simple/demo-pkg/", answer)
    with pytest.raises(TooLarge, match=f"simple/demo-pkg/ is larger than {LIMIT - 1} bytes"):
        index.project("demo-pkg")


@pytest.mark.parametrize(
    "answer", [Answer(endless), Answer(b"x", headers={"Content-Length": str(LIMIT + 1)})]
)
def test_a_file_has_its_limit(index, other, storage, answer):
    other.answer("/file", answer)
    with pytest.raises(TooLarge, match=f"demo-1.0.tar.gz is larger than {LIMIT} bytes"):
        downloaded(index, storage, f"{other.url}/file")
    assert nothing_left(storage)


def test_compressed_pages_are_read(index, other):
    body = gzip.compress(b'<a href="demo-pkg/">')
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    other.answer("/simple/", Answer(body, headers=headers))
    assert index.projects() == ["demo-pkg"]


def test_a_compressed_page_that_is_none_is_one_sentence(index, other):
    headers = {"Content-Type": "text/html", "Content-Encoding": "gzip"}
    other.answer("/simple/", Answer(b"not gzip", headers=headers))
    with pytest.raises(InvalidInput, match="breaks off"):
        index.projects()


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha384", "sha512", "blake2b"])
def test_every_digest_that_is_listed_is_checked(index, other, storage, name):
    other.answer("/file", Answer(BODY))
    url, digest = f"{other.url}/file", hashlib.new(name, BODY).hexdigest()
    assert downloaded(index, storage, url, **{name: digest}) == BODY
    with pytest.raises(InvalidInput, match=f"Its {name} is {digest}, not 'wr\\\\x1bng' as listed"):
        downloaded(index, storage, url, **{name: "wr\x1bng"})
    assert nothing_left(storage)


def test_a_file_comes_with_its_last_modified(index, other, storage):
    times = []
    for headers in ({"Last-Modified": "Wed, 05 Apr 2023 06:07:08 GMT"}, {}):
        other.answer("/file", Answer(BODY, headers=headers))
        incoming, time = index.download(Link("x", f"{other.url}/file", {}), storage, LIMIT)
        incoming.discard()
        times.append(time and time.isoformat())
    assert times == ["2023-04-05T06:07:08+00:00", None]


@pytest.mark.parametrize("prefix", ["http://", ""])
def test_the_proxy_of_the_environment_is_used(elsewhere, monkeypatch, prefix):
    address = elsewhere.url.removeprefix("http://")
    monkeypatch.setenv("http_proxy", f"{prefix}proxy%40user:secret@{address}")
    elsewhere.html("http://index.invalid/simple/", '<a href="demo-pkg/">')
    with OtherIndex("http://index.invalid/simple/") as index:
        assert index.projects() == ["demo-pkg"]
    assert elsewhere.asked[0].proxy_authorization == basic("proxy@user:secret")


def test_a_proxy_that_is_none_is_one_sentence(monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://anna:secret@127.0.0.1:1")
    with (
        OtherIndex("http://index.invalid/simple/") as index,
        pytest.raises(ExtraPyPIError, match="does not answer") as told,
    ):
        index.projects()
    assert "secret" not in str(told.value)

"""What the pages of other indexes mean, in the forms in which servers really send them."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from extrapypi import otherpages, weburls
from extrapypi.errors import InvalidInput, TooLarge
from extrapypi.otherpages import JSON, Link, Page

ROOT = "https://host.example/simple/"
WHEEL = "demo_pkg-1.0-py3-none-any.whl"


def html(body: str, url: str = ROOT, content_type: str = "text/html; charset=utf-8") -> Page:
    return Page(url, content_type, f"<!DOCTYPE html><html>{body}</html>".encode())


def as_json(document: object, url: str = ROOT) -> Page:
    return Page(url, JSON, json.dumps(document).encode())


def links(body: str, url: str = f"{ROOT}demo-pkg/") -> list[Link]:
    return otherpages.project(html(body, url)).files


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('<a href="demo-pkg/">demo-pkg</a><a href="other/">other</a>', id="PEP 503"),
        pytest.param('<a href="/simple/demo-pkg/">x</a><a href="/simple/other/">x</a>', id="paths"),
        pytest.param(
            '<a href="https://host.example/simple/demo-pkg">x</a><A HREF=other>', id="untidy"
        ),
        pytest.param(
            '<a href="?C=N;O=D">Name</a><a href="/">Parent Directory</a>'
            '<a href="demo-pkg/">demo-p..&gt;</a><a href="other/">other/</a><a href="../">..</a>',
            id="a folder by Apache",
        ),
        pytest.param(
            '<base href="/elsewhere/"><a href="../simple/demo-pkg/">x</a><a href="/simple/other/">',
            id="base",
        ),
        pytest.param(
            '<a href="demo-pkg/">x</a><a href="javascript:alert(1)">x</a>'
            '<a href="%2e%2e%2fx/">x</a><a href="http://[::1/">x</a><a href="http://h:99999/simple/y/">x</a><a>x</a>'
            '<a href="other/">x</a><a href="other/index.html">twice</a>',
            id="hostile",
        ),
    ],
)
def test_the_projects_are_those_below_the_root_of_an_html_index(body):
    assert otherpages.projects(html(body)) == ["demo-pkg", "other"]


def test_the_projects_of_a_json_index_are_asked_for_by_their_normalized_names():
    found = {"projects": [{"name": "Demo.Pkg", "_last-serial": 3}, {"name": "other"}, {"name": ""}]}
    assert otherpages.projects(as_json(found)) == ["demo-pkg", "other"]


@pytest.mark.parametrize(
    ("href", "url", "hashes"),
    [
        pytest.param(
            f"../../packages/ab/{WHEEL}#sha256=ABCD",
            f"https://host.example/packages/ab/{WHEEL}",
            {"sha256": "abcd"},
            id="relative, as of Nexus",
        ),
        pytest.param(
            f"/+f/d41/{WHEEL}#md5=12",
            f"https://host.example/+f/d41/{WHEEL}",
            {"md5": "12"},
            id="a path, as of pypiserver",
        ),
        pytest.param(
            f"https://files.example/{WHEEL}?sig=a%2Fb#sha512=1&amp;egg=x",
            f"https://files.example/{WHEEL}?sig=a%2Fb",
            {"sha512": "1"},
            id="another host",
        ),
        pytest.param(WHEEL, f"{ROOT}demo-pkg/{WHEEL}", {}, id="no digest"),
        pytest.param(f"{WHEEL}#crc=9", f"{ROOT}demo-pkg/{WHEEL}", {}, id="an unknown digest"),
    ],
)
def test_links_of_html_pages_are_resolved_and_carry_their_digests(href, url, hashes):
    (link,) = links(f'<a href="{href}" data-requires-python="&gt;=3.9">{WHEEL}</a>')
    assert (link.filename, link.url, link.hashes) == (WHEEL, url, hashes)
    assert (link.upload_time, link.yanked) == (None, None)


def test_a_base_moves_the_links_after_it():
    (link,) = links(f'<base href="https://files.example/x/"><a href="{WHEEL}">y</a>')
    assert link.url == f"https://files.example/x/{WHEEL}"


def test_only_the_first_base_counts_and_comments_do_not():
    (link,) = links(
        f'<!-- <base href="/no/"><a href="{WHEEL}"> --><base href="/yes/"><base href="more/">'
        f'<a title="a > b" href=\'{WHEEL}\'>x</a><!-- <a href="{WHEEL}">'
    )
    assert link.url == f"https://host.example/yes/{WHEEL}"


@pytest.mark.parametrize("tag", ["<a ", '<a href="', "<!--", "<a a=b", "<a =", "<base href=x/>"])
def test_a_page_that_is_to_keep_the_reader_busy_is_read_to_its_end(tag):
    assert len(links(tag * 100_000)) < 2  # html.parser would be at it for hours


def test_a_reference_to_a_character_that_is_none_stays_as_it_is():
    number = "1" * 5000
    (link,) = links(f'<a href="{WHEEL}" data-yanked="&#{number};&#65;">x</a>')
    assert link.yanked == f"&#{number};&#65;"[: otherpages.MAX_REASON]
    assert otherpages.projects(html(f'<a href="&#{number};">x</a>')) == []


def test_a_file_that_is_listed_twice_is_one_and_the_first_counts():
    assert [link.hashes for link in links(f'<a href="{WHEEL}#md5=1"><a href="{WHEEL}">')] == [
        {"md5": "1"}
    ]
    files = [{"filename": WHEEL, "url": WHEEL, "yanked": yanked} for yanked in ("first", "second")]
    assert [link.yanked for link in otherpages.project(as_json({"files": files})).files] == [
        "first"
    ]


@pytest.mark.parametrize("name", ["MAX_FILES", "MAX_PROJECTS"])
def test_only_so_many_files_and_projects_are_taken(monkeypatch, name):
    monkeypatch.setattr(otherpages, name, 2)
    read = {"MAX_FILES": otherpages.project, "MAX_PROJECTS": otherpages.projects}[name]
    entries = [{"filename": text, "url": text, "name": text} for text in ("a", "b", "c")]
    anchors = "".join(f'<a href="{text}">' for text in ("a", "b", "c", "a"))
    read(html(anchors.replace("c", "b")))
    read(as_json({"files": entries[:2] * 2, "projects": entries[:2] * 2}))
    for page in (html(anchors), as_json({"files": entries, "projects": entries})):
        with pytest.raises(TooLarge, match=r"simple/ lists more than 2 entries"):
            read(page)


@pytest.mark.parametrize("part", [b"[]", b"{}", b"1"])
def test_json_of_too_many_values_is_not_even_parsed(part):
    body = b'{"files": [' + part + (b"," + part) * otherpages.MAX_VALUES + b"]}"
    with pytest.raises(TooLarge, match="more than 5000000 values"):
        otherpages.project(Page(ROOT, JSON, body))


def test_file_names_are_percent_decoded():
    (link,) = links('<a href="a/demo-1.0%2Bcu1.tar.gz">x</a>')
    assert link.filename == "demo-1.0+cu1.tar.gz"


@pytest.mark.parametrize(
    ("attribute", "yanked"),
    [("", None), ("data-yanked", ""), ('data-yanked="a &lt;b&gt;\n"', "a <b> ")],
)
def test_yanked_files_of_html_pages_keep_their_reason(attribute, yanked):
    (link,) = links(f'<a href="{WHEEL}" {attribute}>{WHEEL}</a>')
    assert link.yanked == yanked


def test_links_that_are_none_of_the_web_are_passed_over():
    assert links(f'<a href="javascript:x/{WHEEL}">x</a><a href="file:///etc/{WHEEL}">x</a>') == []


def test_a_json_page_tells_everything_of_its_files():
    file = {
        "filename": WHEEL,
        "url": f"../files/{WHEEL}",
        "hashes": {"sha256": "AB", "md5": "cd", "shake_128": "x", "blake2b": 5},
        "upload-time": "2023-04-05T06:07:08.123456Z",
        "yanked": "broken\0",
        "core-metadata": {"sha256": "ef"},
    }
    page = as_json({"files": [file], "project-status": {"status": "archived", "reason": "done"}})
    found = otherpages.project(page)
    time = datetime(2023, 4, 5, 6, 7, 8, 123456, timezone.utc)
    url = f"https://host.example/files/{WHEEL}"
    assert found.files == [Link(WHEEL, url, {"sha256": "ab", "md5": "cd"}, time, "broken ")]
    assert (found.status, found.reason) == ("archived", "done")


@pytest.mark.parametrize(
    ("yanked", "expected"), [(False, None), (True, ""), ("", None), (None, None)]
)
def test_yanked_in_json_is_a_truth_or_a_reason(yanked, expected):
    file = {"filename": WHEEL, "url": WHEEL, "yanked": yanked}
    assert otherpages.project(as_json({"files": [file]})).files[0].yanked == expected


def test_a_file_of_json_whose_url_is_none_of_the_web_is_passed_over():
    file = {"filename": WHEEL, "url": "javascript:alert(1)"}
    assert otherpages.project(as_json({"files": [file]})).files == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-04-05T06:07:08Z", datetime(2023, 4, 5, 6, 7, 8, 0, timezone.utc)),
        ("2023-04-05T06:07:08.5+00:00", datetime(2023, 4, 5, 6, 7, 8, 500000, timezone.utc)),
        ("2023-04-05T06:07:08.123456789Z", datetime(2023, 4, 5, 6, 7, 8, 123456, timezone.utc)),
        ("2023-13-05T06:07:08Z", None),
        ("2023-04-05T06:07:08", None),
        (17, None),
    ],
)
def test_an_upload_time_is_in_utc_or_none(text, expected):
    assert otherpages.json_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wed, 05 Apr 2023 06:07:08 GMT", datetime(2023, 4, 5, 6, 7, 8, 0, timezone.utc)),
        ("Wed, 05 Apr 2023 06:07:08 -0000", datetime(2023, 4, 5, 6, 7, 8, 0, timezone.utc)),
        ("Fri, 31 Dec 9999 23:59:59 -1400", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_time_of_http_is_in_utc_or_none(text, expected):
    assert otherpages.http_time(text) == expected


def test_html_tells_the_status_of_a_project():
    meta = '<meta name="pypi:project-status{}" content="{}">'
    head = meta.format("", "deprecated") + meta.format("-reason", "use other")
    found = otherpages.project(html(head))
    assert (found.status, found.reason) == ("deprecated", "use other")


@pytest.mark.parametrize("status", ["unheard-of", 5, ["archived"], None])
def test_a_status_that_is_none_is_active(status):
    page = as_json({"files": [], "project-status": {"status": status}})
    assert otherpages.project(page).status == "active"


@pytest.mark.parametrize("encoding", ["latin-1", "nonsense", "hex", "undefined", "utf-8\0"])
def test_a_page_of_any_encoding_is_read(encoding):
    page = html(f'<a href="{WHEEL}">\xe9</a>', content_type=f"text/html; charset={encoding}")
    assert [link.filename for link in otherpages.project(page).files] == [WHEEL]


@pytest.mark.parametrize(
    ("charset", "expected"),
    [
        ("ISO-8859-1", "\xe9"),
        ("windows-1251", "\u0439"),
        ("UTF-16LE", "\u41e9"),
        ("utf8", "\ufffdA"),
        ("punycode", "\ufffdA"),  # a MB of it takes minutes
        ("utf-7", "\ufffdA"),
        ("cp037", "\ufffdA"),
    ],
)
def test_the_encodings_of_pages_are_a_few_and_all_else_is_utf_8(charset, expected):
    text = Page(ROOT, f"text/html; charset={charset}", b"\xe9A").text
    assert text.startswith(expected)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(Page(ROOT, "text/plain", b"hello"), id="text"),
        pytest.param(Page(ROOT, "application/json", b"{}"), id="JSON of something else"),
        pytest.param(Page(ROOT, "", b""), id="no type"),
        pytest.param(Page(ROOT, "\x1b[31m", b""), id="a type that is none"),
        pytest.param(Page(ROOT, JSON, b"<html>"), id="no JSON"),
        pytest.param(Page(ROOT, JSON, b"[" * 100_000), id="very deep JSON"),
        pytest.param(as_json([]), id="no object"),
        pytest.param(as_json({}), id="no list"),
        pytest.param(as_json({"projects": {}, "files": {}}), id="no list, either"),
        pytest.param(as_json({"projects": [1], "files": [1]}), id="no objects"),
        pytest.param(as_json({"projects": [{}], "files": [{"filename": 1}]}), id="no texts"),
    ],
)
@pytest.mark.parametrize("read", [otherpages.projects, otherpages.project])
def test_what_is_no_page_of_an_index_is_refused_in_one_printable_sentence(page, read):
    with pytest.raises(
        InvalidInput, match=r"host\.example/simple/ is no page of a package"
    ) as told:
        read(page)
    assert str(told.value).isprintable()


def test_a_url_is_shown_without_what_may_be_secret():
    shown = weburls.bare("https://user:password@host.example:1/a\x1bb?token=1#sha256=2")
    assert shown == "https://host.example:1/a?b"

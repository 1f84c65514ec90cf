"""The simple repository API: contents, negotiation, caching, redirects."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import re
import zipfile
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import webtest
from archives_made import sdist_bytes, wheel_bytes
from conftest import COMMAND_LINE, as_user, upload

from extrapypi import accounts, packages
from extrapypi.models import File
from extrapypi.pages import KeptPages, Page

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
PIP = f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


class Links(HTMLParser):
    """The anchors of a page: their attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[dict] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.inside = tag == "a"
        if self.inside:
            self.found.append({**dict(attributes), "text": ""})

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.found[-1]["text"] += data


@pytest.fixture
def demo(as_role):
    """A client that may install, beside an index with a wheel and an sdist of demo-pkg."""
    upload(as_role("developer"), *wheel_bytes(requires_python=">=3.8,<4"))
    upload(as_role("developer"), *sdist_bytes())
    return as_role("installer")


def json_of(client, project="demo-pkg") -> dict:
    return client.get(f"/simple/{project}/", headers={"Accept": PIP}).json


def test_the_html_list_has_a_link_with_a_slash_for_each_project(demo, as_role):
    upload(as_role("developer"), *wheel_bytes(name="Other_Thing"))
    links = Links(demo.get("/simple/").text).found
    assert [(link["href"], link["text"]) for link in links] == [
        ("demo-pkg/", "demo-pkg"),
        ("other-thing/", "other-thing"),
    ]


def test_the_json_list_has_normalized_names_and_serials(demo):
    answer = demo.get("/simple/", headers={"Accept": JSON})
    assert answer.headers["Content-Type"] == JSON  # no charset: clients compare it
    project = answer.json["projects"][0]
    assert project == {"name": "demo-pkg", "_last-serial": answer.json["meta"]["_last-serial"]}
    assert answer.json["meta"]["api-version"] == "1.4"


def test_the_html_page_shows_the_same_as_the_json_page(demo):
    links = {link["text"]: link for link in Links(demo.get("/simple/demo-pkg/").text).found}
    for file in json_of(demo)["files"]:
        link = links.pop(file["filename"])
        url, _, fragment = link["href"].partition("#")
        assert url == file["url"]
        assert fragment == "sha256=" + file["hashes"]["sha256"]
        assert unquote(urlsplit(url).path.rsplit("/", 1)[1]) == file["filename"]
        assert link.get("data-requires-python") == file.get("requires-python")
        metadata = file.get("core-metadata", {}).get("sha256")
        assert link.get("data-core-metadata") == (metadata and "sha256=" + metadata)
        assert link.get("data-dist-info-metadata") == link.get("data-core-metadata")
    assert links == {}


def test_the_html_page_is_proof_against_regular_expressions(demo):
    page = demo.get("/simple/demo-pkg/").text
    assert '<meta name="pypi:repository-version" content="1.4">' in page
    assert 'data-requires-python="&gt;=3.8,&lt;4"' in page
    names = [file["filename"] for file in json_of(demo)["files"]]
    assert re.findall(r"<a [^>]+>([^<]+)</a>", page) == names
    assert all(line.count("<a ") <= 1 for line in page.splitlines())


def test_the_json_page_has_no_null_and_every_key_of_the_standard(demo):
    page = json_of(demo)
    assert set(page) == {"meta", "name", "project-status", "versions", "files"}
    assert page["project-status"] == {"status": "active"}
    wheel, sdist = page["files"]
    assert set(wheel) - set(sdist) == {"requires-python", "core-metadata"}
    for file in (wheel, sdist):
        assert None not in file.values()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", file["upload-time"])
        assert file["size"] == len(demo.get(file["url"]).body)
        assert file["yanked"] is False
    assert page["versions"] == ["1.0"]
    assert not set(page["meta"]) - {"api-version", "_last-serial"}


def test_the_metadata_beside_a_wheel_is_byte_for_byte_the_wheels(demo):
    wheel = json_of(demo)["files"][0]
    answer = demo.get(wheel["url"] + ".metadata")
    assert answer.body == wheel_bytes_metadata()
    assert hashlib.sha256(answer.body).hexdigest() == wheel["core-metadata"]["sha256"]


def wheel_bytes_metadata() -> bytes:
    with zipfile.ZipFile(io.BytesIO(wheel_bytes(requires_python=">=3.8,<4")[1])) as archive:
        return archive.read("demo_pkg-1.0.dist-info/METADATA")


def test_files_and_versions_are_in_the_order_of_their_versions(as_role):
    for version in ("1.10", "1.9", "1.0rc1", "1.0.post1", "1.0", "1!0.5", "1.0+local.1"):
        upload(as_role("developer"), *wheel_bytes(version=version))
    expected = ["1.0rc1", "1.0", "1.0+local.1", "1.0.post1", "1.9", "1.10", "1!0.5"]
    assert json_of(as_role("installer"))["versions"] == expected


def test_names_that_need_quoting_are_quoted_once_and_found_in_both_forms(as_role):
    filename, body = wheel_bytes(version="1!2.0+cu.1")
    upload(as_role("developer"), filename, body)
    client = as_role("installer")
    url = json_of(client)["files"][0]["url"]
    assert url.endswith("demo_pkg-1%212.0%2Bcu.1-py3-none-any.whl")
    assert client.get(url).body == body
    assert client.get("/packages/demo-pkg/" + filename).body == body


@pytest.mark.parametrize("reason", ["", 'a"b<c>&'])
def test_a_yanked_file_says_so_and_an_unyanked_one_does_not(demo, reason):
    packages.yank(COMMAND_LINE, "Demo_Pkg", "1", reason)
    assert [file["yanked"] for file in json_of(demo)["files"]] == [reason or True] * 2
    links = Links(demo.get("/simple/demo-pkg/").text).found
    assert [link["data-yanked"] for link in links] == [reason] * 2
    packages.yank(COMMAND_LINE, "demo-pkg", "1.0", undo=True)
    assert "data-yanked" not in demo.get("/simple/demo-pkg/").text


@pytest.mark.parametrize("status", ["archived", "deprecated"])
def test_a_status_is_shown_with_its_reason(demo, status):
    packages.set_status(COMMAND_LINE, "demo-pkg", status, "use <other>")
    assert json_of(demo)["project-status"] == {"status": status, "reason": "use <other>"}
    page = demo.get("/simple/demo-pkg/").text
    assert f'<meta name="pypi:project-status" content="{status}">' in page
    assert '<meta name="pypi:project-status-reason" content="use &lt;other&gt;">' in page
    assert len(Links(page).found) == 2


def test_a_project_in_quarantine_offers_nothing(demo):
    url = json_of(demo)["files"][0]["url"]
    packages.set_status(COMMAND_LINE, "demo-pkg", "quarantined", "malware")
    assert json_of(demo)["files"] == []
    assert Links(demo.get("/simple/demo-pkg/").text).found == []
    assert Links(demo.get("/simple/").text).found == []
    assert "quarantine" in demo.get(url, status=403).status
    assert demo.get("/pypi/demo-pkg/json", status="*").json["urls"] == []


NEGOTIATED = [
    pytest.param(PIP, JSON, id="pip, pdm, renovate"),
    pytest.param(f"{JSON},{HTML};q=0.2,text/html;q=0.01", JSON, id="uv"),
    pytest.param(f"{JSON}, */*;q=0.1", JSON, id="poetry"),
    pytest.param(JSON, JSON, id="bandersnatch"),
    pytest.param("*/*", "text/html", id="hatch, curl"),
    pytest.param("", "text/html", id="nothing"),
    pytest.param("text/html", "text/html", id="dependabot"),
    pytest.param(BROWSER, "text/html", id="a browser"),
    pytest.param("application/vnd.pypi.simple.latest+json", JSON, id="latest+json"),
    pytest.param("application/vnd.pypi.simple.latest+html", HTML, id="latest+html"),
    pytest.param(HTML, HTML, id="v1+html"),
    pytest.param(f"text/html, {JSON}", JSON, id="a tie goes to JSON"),
    pytest.param(f"text/html, {JSON};q=0.9", "text/html", id="the higher q wins"),
    pytest.param(f"{JSON};q=0, */*", "text/html", id="q of 0 forbids"),
    pytest.param("text/*", "text/html", id="text/*"),
    pytest.param("application/*", HTML, id="application/*"),
    pytest.param("image/png", None, id="a picture"),
    pytest.param("application/json", None, id="plain JSON"),
    pytest.param("*/*;q=0", None, id="nothing will do"),
    pytest.param("text/html;q=banana", None, id="a q that is no number"),
]


@pytest.mark.parametrize(("accept", "expected"), NEGOTIATED)
@pytest.mark.parametrize("path", ["/simple/", "/simple/demo-pkg/"])
def test_the_best_type_that_the_client_takes_is_sent(demo, path, accept, expected):
    answer = demo.get(path, headers={"Accept": accept}, status="*")
    if expected is None:
        assert answer.status_int == 406
        assert JSON in answer.text
    else:
        assert answer.status_int == 200
        assert answer.headers["Content-Type"].partition(";")[0] == expected
        assert {"Accept", "Accept-Encoding"} <= set(answer.headers["Vary"].split(", "))


def test_format_in_the_query_overrides_accept(demo):
    for written in ("application/vnd.pypi.simple.v1%2Bjson", "application/vnd.pypi.simple.v1+json"):
        answer = demo.get(f"/simple/demo-pkg/?format={written}", headers={"Accept": "text/html"})
        assert answer.content_type == JSON
    demo.get("/simple/demo-pkg/?format=xml", status=406)


@pytest.mark.parametrize("accept", [JSON, HTML, "text/html"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_each_representation_has_a_strong_tag_and_is_answered_with_304(demo, accept, encoding):
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    first = demo.get("/simple/demo-pkg/", headers=headers)
    assert re.fullmatch(r'"[^"]+"', first.headers["ETag"])
    second = demo.get(
        "/simple/demo-pkg/", headers={**headers, "If-None-Match": first.headers["ETag"]}
    )
    assert (second.status_int, second.body) == (304, b"")
    for name in ("ETag", "Cache-Control", "Vary"):
        assert second.headers[name] == first.headers[name]
    assert first.headers["Cache-Control"] == "max-age=0, must-revalidate"


def test_representations_have_tags_of_their_own_and_the_same_content(demo, app):
    pages = {}
    for accept in (JSON, "text/html"):
        for encoding in ("gzip", "identity"):
            request = webtest.TestRequest.blank("/simple/demo-pkg/", accept=accept)
            request.accept_encoding = encoding
            request.environ["HTTP_AUTHORIZATION"] = demo.extra_environ["HTTP_AUTHORIZATION"]
            pages[accept, encoding] = request.get_response(app)
    assert len({page.headers["ETag"] for page in pages.values()}) == 4
    packed = pages["text/html", "gzip"]
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == pages["text/html", "identity"].body


def test_an_upload_is_seen_by_those_who_have_the_page(demo, as_role):
    before = demo.get("/simple/demo-pkg/")
    upload(as_role("developer"), *wheel_bytes(version="2.0"))
    after = demo.get("/simple/demo-pkg/", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_int == 200
    assert int(after.headers["X-PyPI-Last-Serial"]) > int(before.headers["X-PyPI-Last-Serial"])


def test_a_change_elsewhere_leaves_a_page_as_it_is(demo, as_role):
    before = demo.get("/simple/demo-pkg/")
    upload(as_role("developer"), *wheel_bytes(name="other"))
    after = demo.get("/simple/demo-pkg/", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_int == 304


def test_a_kept_page_costs_one_query(demo, monkeypatch):
    from extrapypi.database import database

    demo.get("/simple/demo-pkg/")
    statements = []
    execute = database.obj.execute_sql
    monkeypatch.setattr(
        database.obj, "execute_sql", lambda *a, **k: statements.append(a[0]) or execute(*a, **k)
    )
    demo.get("/simple/demo-pkg/")
    assert len(statements) == 1


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/simple", "/simple/"),
        ("/simple/demo-pkg", "/simple/demo-pkg/"),
        ("/simple/Demo_Pkg/", "/simple/demo-pkg/"),
        ("/simple/Demo.Pkg", "/simple/demo-pkg/"),
        ("/simple/demo--_.pkg/", "/simple/demo-pkg/"),
        ("/pypi/Demo_Pkg/json", "/pypi/demo-pkg/json"),
        ("/packages/Demo_Pkg/x.whl", "/packages/demo-pkg/x.whl"),
    ],
)
def test_other_spellings_redirect_to_the_one_page_by_an_absolute_url(demo, path, target):
    answer = demo.get(path, status=301, headers={"Host": "pypi.example:3141"})
    assert answer.headers["Location"] == "http://pypi.example:3141" + target


@pytest.mark.parametrize(
    "path", ["/simple//demo-pkg/", "//simple/demo-pkg/", "/simple/%64emo-pkg/"]
)
def test_doubled_slashes_and_needless_quoting_are_tolerated(demo, path):
    assert len(Links(demo.get(path).text).found) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/simple/unknown/",
        "/simple/demo-pkg/1.0/",
        "/simple/demo-pkg/nothing-1.0.whl",
        "/simple/f%C3%B6%C3%B6/",
        "/simple/hello%23/",
        "/simple/-hello/",
        "/simple/demo-pkg%0aSet-Cookie:x=1/",
        "/simple/%ff/",
        "/simple/demo-pkg%00/",
        "/simple/..%2fetc/",
        "/packages/demo-pkg/..%2f..%2fextrapypi.db",
        "/packages/other/demo_pkg-1.0-py3-none-any.whl",
        "/packages/demo-pkg/demo_pkg-1.0.tar.gz.metadata",
        "/pypi/unknown/json",
        "/pypi/demo-pkg/9/json",
        "/nowhere",
    ],
)
def test_what_is_not_there_is_a_404_with_a_sentence(demo, path):
    answer = demo.get(path, status=404)
    assert answer.text.startswith("There is no")
    assert answer.headers["Cache-Control"] == "no-store"


def test_markup_in_a_path_comes_back_as_plain_text(demo):
    answer = demo.get("/simple/<script>alert(1)</script>", status=404)
    assert answer.content_type == "text/plain"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/simple/", "/simple/demo-pkg/", "/pypi/demo-pkg/json", "/ping"])
def test_head_has_the_headers_of_get_and_no_body(demo, path):
    got, head = demo.get(path), demo.head(path)
    assert (head.status, head.body) == (got.status, b"")
    assert head.headers.pop("X-Request-ID") != got.headers.pop("X-Request-ID")
    assert dict(head.headers) == dict(got.headers)


def test_hatch_finds_published_files_below_the_upload_url(demo):
    page = demo.get("/legacy/%2Bsimple/demo_pkg/", headers={"Accept": "*/*"})
    assert "demo_pkg-1.0.tar.gz</a>" in page.text


def test_the_upload_url_shows_people_what_to_do(demo):
    assert "twine upload --repository-url http://localhost:80/legacy/" in demo.get("/legacy/").text
    for printed, version in (
        ("/legacy/demo_pkg/1.0/", "1.0/"),  # what hatch and flit print after publishing
        ("/legacy/demo_pkg", ""),
        ("/project/demo_pkg/", ""),
    ):
        location = demo.get(printed, status=302).headers["Location"]
        assert location.endswith(f"/dashboard/packages/demo-pkg/{version}")


def test_a_post_to_a_project_page_is_405_and_says_what_is_allowed(demo):
    answer = demo.post("/simple/demo-pkg/", status=405)
    assert answer.headers["Allow"] == "GET, HEAD"


def test_deleting_the_last_file_removes_the_project(demo, app):
    name = File.get().filename
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", "1.0", name)
    assert len(json_of(demo)["files"]) == 1
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg", "1.0")
    demo.get("/simple/demo-pkg/", status=404)
    demo.get(f"/packages/demo-pkg/{name}", status=404)
    assert Links(demo.get("/simple/").text).found == []


def test_a_token_for_one_project_sees_only_that_one(demo, app, as_role):
    upload(as_role("developer"), *wheel_bytes(name="other"))
    secret = accounts.create_token(COMMAND_LINE, "installer", packages=["Demo.Pkg"])[1]
    client = as_user(app, "__token__", secret)
    assert [link["text"] for link in Links(client.get("/simple/").text).found] == ["demo-pkg"]
    client.get("/simple/demo-pkg/")
    demo.get("/pypi/other/json")  # so that the page is kept
    demo.get("/simple/other/")
    for path in (
        "/simple/other/",
        "/pypi/other/json",
        "/packages/other/other-1.0-py3-none-any.whl",
    ):
        assert "not for the project other" in client.get(path, status=403).status
    client.get("/simple/unknown/", status=404)  # uv looks at the next index only after a 404
    assert len(Links(demo.get("/simple/").text).found) == 2


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/simple/", "Accept", b"\xff"),
        ("/nowhere", "Accept", b"\xff"),
        ("/simple/", "Accept-Encoding", b"\xff"),
        ("/simple/demo-pkg/", "If-None-Match", b"\xff"),
        ("/simple/", "User-Agent", b"\xff\x80"),
        ("{file}", "If-None-Match", b"\xff"),
        ("{file}", "If-Range", b"\xff"),
        ("{file}", "Range", b"bytes=\xb2-"),
        ("{file}", "Range", b"bytes=0-" + b"9" * 5000),
        ("{file}", "Range", b"bytes=-" + b"9" * 5000),
        ("{file}", "If-Modified-Since", b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT"),
        ("{file}", "If-Modified-Since", b"Mon, 01 Jan 2020 99:00:00 +99999999999"),
        ("{file}", "If-Modified-Since", b"\xff"),
    ],
)
def test_no_header_makes_a_500(demo, app, path, name, value):
    request = webtest.TestRequest.blank(path.format(file=json_of(demo)["files"][0]["url"]))
    request.environ["HTTP_AUTHORIZATION"] = demo.extra_environ["HTTP_AUTHORIZATION"]
    request.environ["HTTP_" + name.upper().replace("-", "_")] = value.decode("latin-1")
    assert demo.do_request(request, status="*").status_int < 500


@pytest.mark.parametrize(
    "path",
    [
        "/packages/Demo_Pkg/a%0ab",
        "/packages/demo-pkg/a%00b",
        "/packages/demo-pkg/%C3%A9",
        "/pypi/Demo_Pkg/1%0d%0aX/json",
        "/pypi/demo-pkg/1%00/json",
        "/pypi/demo-pkg/" + "1" * 5000 + "/json",
        "/simple?%00\x00",
        "/simple/Demo_Pkg/x%3Fy%23z",
    ],
)
def test_no_path_makes_a_500_or_a_broken_redirect(demo, app, path):
    path, _, query = path.partition("?")
    request = webtest.TestRequest.blank(path)
    request.environ["QUERY_STRING"] = query
    request.environ["HTTP_AUTHORIZATION"] = demo.extra_environ["HTTP_AUTHORIZATION"]
    answer = request.get_response(app)
    assert answer.status_int in (301, 404)
    assert re.fullmatch(r"[!-~]*", answer.headers.get("Location", ""))


def test_the_least_used_page_is_dropped_first():
    kept, rendered = KeptPages(1), []

    def page(key: str) -> None:
        def render() -> Page:
            rendered.append(key)
            return Page(random.Random(key).randbytes(200_000), "text/html", {})

        kept.get((key,), 1, lambda: 1, render)

    for key in "abacada":  # two pages with their packed forms fit
        page(key)
    assert rendered == list("abcd")
    assert kept.size <= kept.most

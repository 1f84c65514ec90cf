"""Publishing in the browser: several files at once, each judged by the rules of twine's uploads."""

from __future__ import annotations

import hashlib

import pytest
from archives_made import sdist_bytes, wheel_bytes
from browsers import TOKEN, Browser, offered
from clients import ADMIN, PASSWORDS, Index
from conftest import counts, stored, upload
from test_serving import answer, connect, request

from extrapypi.models import File, Journal, Maintainer

PATH = "/dashboard/upload/"


def publish(browser, *archives, status=200, token=None, **fields):
    """The page that answers the form with these files."""
    token = browser.form_token if token is None else token
    files = [("files", filename, body) for filename, body in archives]
    return browser.post(PATH, {"form_token": token, **fields}, upload_files=files, status=status)


def results(answer) -> dict[str, tuple[str, str]]:
    """File name to result and details."""
    rows = answer.html.select("tbody tr")
    cells = [[cell.get_text(" ", strip=True) for cell in row.select("th, td")] for row in rows]
    return {name: (outcome, details) for name, outcome, details in cells}


def test_files_are_published_and_at_once_on_the_index(app, as_role):
    browser = Browser(app, "developer", HTTP_USER_AGENT="Mozilla/5.0 Firefox/1")
    wheel, sdist, other = wheel_bytes(), sdist_bytes(), wheel_bytes(name="other", version="2.0")
    answer = publish(browser, wheel, sdist, other)
    assert results(answer) == {
        wheel[0]: ("published", "demo-pkg 1.0"),
        sdist[0]: ("published", "demo-pkg 1.0"),
        other[0]: ("published", "other 2.0"),
    }
    assert "3 of 3 files are on the index" in answer.text
    assert set(offered(as_role("installer"))) == {wheel[0], sdist[0]}
    assert as_role("installer").get(f"/packages/demo-pkg/{wheel[0]}").body == wheel[1]
    line = Journal.get(Journal.filename == wheel[0])
    assert (line.who, line.action, line.address) == ("developer", "upload", "127.0.0.1")
    assert {each.user.username for each in Maintainer.select()} == {"developer"}


def test_each_file_has_its_own_result(app, as_role):
    upload(as_role("developer"))
    changed = wheel_bytes(description="other bytes")
    renamed = ("demo_pkg-3.0-py3-none-any.whl", wheel_bytes()[1])
    good = wheel_bytes(version="2.0")
    answer = publish(
        Browser(app, "developer"),
        wheel_bytes(),
        ("notes.txt", b"x"),
        renamed,
        good,
        ("demo_pkg-4.0.tar.gz", b"no archive"),
        status=400,
    )
    found = results(answer)
    assert found[wheel_bytes()[0]][0] == "already there"
    assert found["notes.txt"][0] == "refused" and "notes.txt" in found["notes.txt"][1]
    assert found[renamed[0]][0] == "refused"
    assert found[good[0]][0] == "published"
    assert "2 of 5 files are on the index; 3 were refused" in answer.text
    answer = publish(Browser(app, "developer"), changed, status=400)
    assert "File already exists" in results(answer)[changed[0]][1]
    assert len(stored(app)) == 4  # two wheels, each with its metadata
    assert File.select().count() == 2


def test_all_faults_of_a_file_are_listed(app):
    filename, body = wheel_bytes(requires_dist=["@@"], requires_python="soon")
    answer = publish(Browser(app, "developer"), (filename, body), status=400)
    faults = [each.text for each in answer.html.select("td li")]
    assert len(faults) == 2, results(answer)


def test_creating_a_project_needs_the_role_developer(app, as_role):
    browser = Browser(app, "maintainer")
    answer = publish(browser, wheel_bytes(), status=400)
    assert "needs the role developer" in results(answer)[wheel_bytes()[0]][1]
    assert not counts()["File"] and not stored(app)
    upload(as_role("developer"))
    later = wheel_bytes(version="2.0")
    assert results(publish(browser, later))[later[0]][0] == "published"


def test_an_installer_has_no_upload_page(app):
    browser = Browser(app, "installer")
    browser.get(PATH, status=403)
    publish(browser, wheel_bytes(), status=403)
    assert not stored(app)


@pytest.mark.parametrize("token", ["", "x", "ü"])
def test_without_the_form_token_no_file_is_taken(app, token):
    publish(Browser(app, "developer"), wheel_bytes(), token=token, status=403)
    assert not counts()["File"] and not stored(app)


def test_the_form_token_behind_the_files_is_too_late(app):
    browser = Browser(app, "developer")
    name, body = wheel_bytes()
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), body),
        b'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n%s\r\n--b--\r\n'
        % browser.form_token.encode(),
    ]
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    browser.post(PATH, b"".join(parts), headers=kind, status=403)
    assert not stored(app)


@pytest.mark.parametrize("rest", [b"--b\r\nbroken", b"--b\r\nContent-Disposition: \xff\r\n\r\n"])
def test_what_was_published_before_a_form_breaks_off_is_told(app, rest):
    browser = Browser(app, "developer")
    name, body = wheel_bytes()
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n%s\r\n'
        % browser.form_token.encode(),
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
        % (name.encode(), body),
        rest,
    ]
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = browser.post(PATH, b"".join(parts), headers=kind, status=400)
    (published, broken) = results(answer).items()
    assert published == (name, ("published", "demo-pkg 1.0"))
    assert "cannot be read" in broken[1][1]
    assert "Error(" not in broken[1][1]
    assert counts()["File"] == 1


def test_a_page_of_another_site_uploads_nothing(app):
    browser = Browser(app, "developer")
    fields, files = {"form_token": browser.form_token}, [("files", *wheel_bytes())]
    headers = {"Sec-Fetch-Site": "cross-site"}
    browser.post(PATH, fields, upload_files=files, headers=headers, status=403)
    assert not stored(app)


def test_a_form_without_files_says_so(app):
    browser = Browser(app, "developer")
    for files in ([], [("files", "", b"")]):
        answer = browser.post(
            PATH,
            {"form_token": browser.form_token},
            upload_files=files,
            content_type="multipart/form-data",
            status=400,
        )
        assert "No file was chosen." in answer.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"files=x"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="files"'),
        ("text/plain", b""),
    ],
)
def test_what_is_no_form_is_refused(app, kind, body):
    browser = Browser(app, "developer")
    answer = browser.post(PATH, body, headers={"Content-Type": kind}, status="*")
    assert answer.status_int in (400, 403) and answer.html.h1


@pytest.mark.parametrize("name", ["<script>x</script>.whl", "../../etc/passwd", "a\\b", "ü.whl"])
def test_hostile_file_names_are_refused_and_shown_as_text(app, name):
    answer = publish(Browser(app, "developer"), (name, b"x"), status=400)
    assert "<script>x" not in answer.text
    assert not stored(app)


def test_a_file_name_that_is_not_utf8_is_refused(app):
    browser = Browser(app, "developer")
    body = (
        b'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n%s\r\n'
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="\xff\xfe.whl"\r\n\r\nx\r\n'
        b"--b--\r\n"
    ) % browser.form_token.encode()
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    browser.post(PATH, body, headers=kind, status=400)


def test_a_file_over_the_limit_is_refused_and_the_next_one_taken(settings, tables):
    from extrapypi.app import create_app

    app = create_app({**settings, "MAX_UPLOAD_SIZE": 3000})
    large = wheel_bytes(name="large", files={"large.py": hashlib.shake_128(b"x").digest(9000)})
    good = wheel_bytes()
    answer = publish(Browser(app, "developer"), large, good, status=400)
    assert "larger than 3000 bytes" in results(answer)[large[0]][1]
    assert results(answer)[good[0]][0] == "published"
    assert all("demo" in each for each in stored(app))
    app.close()


def test_more_than_fifty_files_are_not_taken_at_once(app):
    files = [(f"bad-{n}.txt", b"x") for n in range(52)]
    found = results(publish(Browser(app, "developer"), *files, status=400))
    assert len(found) == 52
    assert sum("Only 50 files" in details for _, details in found.values()) == 2


@pytest.fixture
def index(tmp_path):
    """A running index that takes files of at most 1 MiB."""
    index = Index(tmp_path, "MAX_UPLOAD_SIZE = 1024**2")
    yield index
    assert index.stop() == 0
    assert "Traceback" not in index.log.read_text()


def form_bytes(form_token: str, *archives: tuple[str, bytes]) -> bytes:
    """The form as a browser sends it, with the boundary b."""
    parts = [(b'name="form_token"', form_token.encode())]
    parts += [(f'name="files"; filename="{name}"'.encode(), body) for name, body in archives]
    lines = [b"--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % part for part in parts]
    return b"".join(lines) + b"--b--\r\n"


def test_the_server_takes_large_forms_of_those_who_are_logged_in_only(index):
    kind = {"Content_Type": "multipart/form-data; boundary=b"}
    archives = [
        wheel_bytes(name=f"big{n}", files={"x.py": hashlib.shake_128(b"x").digest(900_000)})
        for n in range(3)  # together they are larger than a file may be
    ]
    with connect(index) as connection:
        connection.sendall(request(PATH, "POST", form_bytes("", *archives), **kind))
        assert answer(connection)[0].startswith("403 Log in to upload files")
    with connect(index) as connection:
        login = f"username={ADMIN}&password={PASSWORDS[ADMIN]}".encode()
        sent = {"Content_Type": "application/x-www-form-urlencoded"}
        connection.sendall(request("/dashboard/login", "POST", login, **sent))
        cookie = {"Cookie": answer(connection)[1]["Set-Cookie"].partition(";")[0]}
        connection.sendall(request(PATH, **cookie))
        token = TOKEN.search(answer(connection)[2].decode())[1]
        body = form_bytes(token, *archives)
        connection.sendall(request(PATH, "POST", body, **kind, **cookie))
        status, _, page = answer(connection)
        assert status == "200 OK", page
        assert b"3 of 3 files are on the index" in page

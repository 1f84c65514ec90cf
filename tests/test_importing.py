"""Moving in: folders, and other indexes of several kinds."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from datetime import datetime, timezone

import pytest
import sites
from archives_made import sdist_bytes, wheel_bytes
from clients import INSTALLER, PASSWORDS, Index, environment, isolated, with_credentials
from conftest import COMMAND_LINE, counts, stored, upload

from extrapypi import checking, importing, otherindex, packages
from extrapypi.auth import Actor
from extrapypi.commandline import main
from extrapypi.errors import InvalidInput, NotLoggedIn, Unavailable
from extrapypi.models import File, Journal, Package, Release, User
from extrapypi.otherindex import OtherIndex

THEN = datetime(2019, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
GOES_ON = "Broken off; the same command goes on where it ended."
KEPT = ("filename", "hashes", "size", "upload-time", "yanked", "requires-python", "core-metadata")
PYPISERVER = """
import pathlib, sys, wsgiref.simple_server, pypiserver
with open(sys.argv[1]) as stream:
    password = stream.read()
app = pypiserver.app(
    roots=[pathlib.Path(sys.argv[2])],
    authenticate=["list", "download"],
    auther=lambda user, given: (user, given) == ("anna", password),
)
server = wsgiref.simple_server.make_server("127.0.0.1", 0, app)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with three distributions, nested and flat, and files that are none."""
    folder = tmp_path / "old"
    (folder / "Demo.Pkg").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for place, (name, body) in (
        (folder, wheel_bytes()),
        (folder / "Demo.Pkg", sdist_bytes()),
        (folder / "Demo.Pkg", wheel_bytes(name="other", version="2.0")),
        (folder / ".hidden", wheel_bytes(name="hidden")),
    ):
        (place / name).write_bytes(body)
        os.utime(place / name, (THEN.timestamp(), THEN.timestamp()))
    (folder / "notes.txt").write_text("no distribution")
    (folder / "old-1.0.egg").write_bytes(b"no longer one")
    (folder / "broken-1.0.tar.gz").write_bytes(b"no archive")
    (folder / "demo_pkg-1.0.tar.gz.asc").write_text("a signature")
    return folder


def imported(app, folders) -> importing.Summary:
    """What an import of the folders by the command line did."""
    summary = importing.Summary()
    importing.import_folders(app.site.storage, COMMAND_LINE, folders, summary)
    return summary


def test_an_import_takes_what_is_good_keeps_its_time_and_names_the_rest(app, folder):
    summary = imported(app, [folder])
    assert (summary.added, summary.known) == (3, 0)
    assert [os.path.basename(path) for path, _ in summary.bad] == [
        "broken-1.0.tar.gz",
        "old-1.0.egg",
    ]
    assert all(reason for _, reason in summary.bad)
    assert {file.upload_time for file in File.select()} == {THEN}
    assert counts()["Package"] == 2
    assert (folder / "demo_pkg-1.0-py3-none-any.whl").exists()  # copied, not moved


def test_a_second_import_adds_nothing(app, folder):
    imported(app, [folder])
    summary = imported(app, [folder])
    assert (summary.added, summary.known, len(summary.bad)) == (0, 3, 2)


def test_files_that_lie_in_the_storage_are_registered_and_moved_to_their_place(app):
    root = app.site.storage.root
    (root / "Demo.Pkg").mkdir()
    (root / "other").mkdir()
    (root / "Demo.Pkg" / wheel_bytes()[0]).write_bytes(wheel_bytes()[1])
    name, body = wheel_bytes(name="other")
    (root / "other" / name).write_bytes(body)
    storage = app.site.storage
    summary = imported(app, storage.folders)
    assert (summary.added, summary.bad) == (2, [])
    assert [name for name in stored(app) if not name.endswith(".metadata")] == [
        "demo-pkg/demo_pkg-1.0-py3-none-any.whl",
        f"other/{name}",
    ]
    assert list(checking.check(storage, deep=True)) == []


def test_a_folder_that_is_not_there_is_named(app, tmp_path):
    with pytest.raises(InvalidInput, match=r"no folder .*nothing"):
        imported(app, [tmp_path / "nothing"])


def flip(path) -> None:
    """Changes one byte of the file."""
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)


def test_importing_or_uploading_the_same_bytes_mends_what_the_storage_has_lost(
    app, as_role, tmp_path
):
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    stored_at = app.site.storage.root / File.get().location
    stored_at.unlink()
    upload(as_role("developer"), filename, body)
    assert stored_at.read_bytes() == body
    (app.site.storage.root / "elsewhere").mkdir()
    only_copy = app.site.storage.root / "elsewhere" / filename
    stored_at.rename(only_copy)
    summary = imported(app, app.site.storage.folders)
    assert (summary.added, summary.known) == (0, 1)
    assert stored_at.read_bytes() == body
    assert not only_copy.exists()
    assert list(checking.check(app.site.storage, deep=True)) == []


def test_what_is_no_regular_file_is_passed_over(app, tmp_path):
    os.mkfifo(tmp_path / "demo-1.0.tar.gz")
    summary = imported(app, [tmp_path])
    assert (summary.added, summary.bad) == (0, [])


def test_importing_the_storage_by_another_path_removes_nothing(app, as_role, monkeypatch):
    upload(as_role("developer"))
    root = app.site.storage.root
    monkeypatch.chdir(root)
    summary = imported(app, [f"../{root.name}"])
    assert summary.known == 1
    assert list(checking.check(app.site.storage, deep=True)) == []


def test_a_damaged_file_is_mended_from_a_good_copy(app, as_role):
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    kept = app.site.storage.root / File.get().location
    flip(kept)
    copy = app.site.storage.root / filename
    copy.write_bytes(body)
    imported(app, app.site.storage.folders)
    assert kept.read_bytes() == body
    assert not copy.exists()
    flip(kept)
    upload(as_role("developer"), filename, body)
    assert kept.read_bytes() == body


def test_a_copy_stays_when_the_kept_file_is_not_whole(app, as_role):
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    copy = app.site.storage.root / filename
    copy.write_bytes(body)
    flip(app.site.storage.root / File.get().location)
    importing.remove_if_moved(app.site.storage, copy)
    assert copy.exists()


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Tries come at once, and nothing of this machine's settings counts."""
    monkeypatch.setattr(otherindex, "RETRIES", otherindex.RETRIES.new(backoff_factor=0))
    monkeypatch.setenv("NETRC", os.devnull)
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Another extrapypi, with four files in two projects."""
    index = Index(tmp_path_factory.mktemp("source"))
    try:
        index.add("demo-pkg", maker=sdist_bytes, requires_python=">=3.8")
        index.add("demo-pkg", requires_python=">=3.8")
        index.add("demo-pkg", "2.0")
        index.add("old-pkg")
        index.command("yank", "demo-pkg", "2.0", "--reason", "It <breaks>.")
        index.command("status", "old-pkg", "archived", "--reason", "Use demo-pkg.")
        yield index
    finally:
        index.stop()


@pytest.fixture
def other():
    """A site that plays another index."""
    with sites.site() as made:
        yield made


def from_index(app, url: str, *names: str, actor: Actor = COMMAND_LINE) -> importing.Summary:
    """What an import of another index did."""
    summary, limit = importing.Summary(), app.site.config.MAX_UPLOAD_SIZE
    with OtherIndex(url) as index:
        importing.import_index(app.site.storage, actor, index, names, limit, summary)
    return summary


def listed(*archives: tuple[str, bytes], **more) -> dict:
    """The JSON page of a project with these files; ``more`` goes to each."""
    return {
        "files": [
            {
                "filename": name,
                "url": f"/files/{name}",
                "hashes": {"sha256": hashlib.sha256(body).hexdigest()},
                **more,
            }
            for name, body in archives
        ]
    }


def offer(other, project: str, *archives: tuple[str, bytes], **more) -> None:
    """Puts a project with these files on the other index, which has no list of all."""
    other.json(f"/simple/{project}/", listed(*archives, **more))
    for name, body in archives:
        other.answer(f"/files/{name}", sites.Answer(body))


def page(client, project: str) -> dict:
    """The project's page as JSON."""
    return client.get(f"/simple/{project}/", headers={"Accept": sites.JSON}).json


def test_another_extrapypi_moves_in_with_all_that_it_says_of_files_and_projects(
    app, as_role, source
):
    summary = from_index(app, source.simple_for())
    assert (summary.added, summary.known, summary.bad) == (4, 0, [])
    with OtherIndex(source.simple_for()) as index:
        for project in ("demo-pkg", "old-pkg"):
            there = json.loads(index.page(f"{source.simple}{project}/").body)
            here = page(as_role("installer"), project)
            for theirs, ours in zip(there["files"], here["files"], strict=True):
                assert {key: ours.get(key) for key in KEPT} == {
                    key: theirs.get(key) for key in KEPT
                }
            assert here["project-status"] == there["project-status"]
    assert list(checking.check(app.site.storage, deep=True)) == []


def test_what_came_already_is_not_downloaded_again(app, source):
    from_index(app, source.simple_for(), "demo-pkg")
    with source.requests() as seen:
        summary = from_index(app, source.simple_for(), "Demo.Pkg")
    assert (summary.added, summary.known, summary.bad) == (0, 3, [])
    assert [request.path for request in seen] == ["/simple/demo-pkg/"]
    assert counts()["Package"] == 1


def test_what_the_storage_has_lost_is_downloaded_again(app, source):
    from_index(app, source.simple_for(), "old-pkg")
    (app.site.storage.root / File.get().location).unlink()
    packages.set_status(COMMAND_LINE, "old-pkg", "active")
    assert from_index(app, source.simple_for(), "old-pkg").known == 1
    assert list(checking.check(app.site.storage, deep=True)) == []
    assert Package.get().status == "active"  # nothing was added, so nothing is taken over


def test_a_password_that_is_wrong_or_missing_ends_the_import(app, source):
    for url in (source.simple, with_credentials(source.simple, INSTALLER, "wrong")):
        with pytest.raises(NotLoggedIn):
            from_index(app, url)
    assert counts()["Package"] == 0


def test_the_uploads_become_those_of_the_user(app, source):
    developer = User.named("developer")
    actor = Actor(username="developer", role="developer", user_id=developer.id)
    assert from_index(app, source.simple_for(), actor=actor).bad == []
    assert {file.uploaded_by for file in File.select()} == {developer}
    assert [user.username for user in Package.named("old-pkg").maintainers] == ["developer"]
    assert Journal.get(Journal.action == "yank").who == "developer"


def test_a_pypiserver_with_credentials_moves_in(app, folder, tmp_path):
    (tmp_path / "password").write_text("s3cr@t/")
    python = environment("pypiserver") / "bin" / "python"
    command = [python, "-c", PYPISERVER, tmp_path / "password", folder]
    server = subprocess.Popen(
        [str(word) for word in command],
        env=isolated(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with server:
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/simple/"
            with pytest.raises(NotLoggedIn):
                from_index(app, url)
            summary = from_index(app, with_credentials(url, "anna", "s3cr@t/"))
            again = from_index(app, with_credentials(url, "anna", "s3cr@t/"))
        finally:
            server.terminate()
    assert (summary.added, summary.known) == (3, 0)
    assert sorted(name for name, _ in summary.bad) == ["broken-1.0.tar.gz", "old-1.0.egg"]
    assert (again.added, again.known) == (0, 3)
    assert {file.upload_time for file in File.select()} == {THEN}


def test_folders_that_a_web_server_lists_move_in(app, tmp_path):
    for project, (name, body) in (
        ("Demo.Pkg", wheel_bytes()),
        ("Demo.Pkg", sdist_bytes()),
        ("other", wheel_bytes(name="other")),
    ):
        (tmp_path / "web" / project).mkdir(parents=True, exist_ok=True)
        (tmp_path / "web" / project / name).write_bytes(body)
        os.utime(tmp_path / "web" / project / name, (THEN.timestamp(), THEN.timestamp()))
    with sites.folder(tmp_path / "web") as url:
        first, second = from_index(app, url), from_index(app, url)
    assert (first.added, first.bad) == (3, [])
    assert (second.known, second.bad) == (3, [])
    assert {file.upload_time for file in File.select()} == {THEN}


def test_a_page_that_was_made_to_do_harm_does_none(app, other):
    good, wrong = wheel_bytes(), wheel_bytes(version="3.0")
    stranger, unlike = wheel_bytes(name="stranger"), wheel_bytes(version="4.0")[0]
    renamed = sdist_bytes(name="other-thing", filename="demo_pkg-5.0.tar.gz")
    names = ("../../evil-1.0.tar.gz", "demo-pkg-1.0\x1b[31m.tar.gz", "demo_pkg-6.0.egg", unlike)
    offer(other, "demo-pkg", good, wrong, stranger, renamed, *((name, b"") for name in names))
    other.answer(f"/files/{wrong[0]}", sites.Answer(wrong[1] + b"!"))
    found = other.next("/simple/demo-pkg/")
    document = json.loads(found.body)
    document["files"] += [
        {"filename": "demo_pkg-7.0.tar.gz", "url": "javascript:alert(1)"},
        {"filename": "demo_pkg-1.0.tar.gz.asc", "url": "/x"},
        {"filename": "index.html", "url": "/x"},
    ]
    other.json("/simple/demo-pkg/", document)
    summary = from_index(app, f"{other.url}/simple/", "demo-pkg")
    assert (summary.added, summary.known) == (1, 0)
    reasons = {os.path.basename(name): reason for name, reason in summary.bad}
    assert reasons.keys() == {
        *(wrong[0], stranger[0], renamed[0], unlike),
        *("evil-1.0.tar.gz", "demo-pkg-1.0?[31m.tar.gz", "demo_pkg-6.0.egg"),
    }
    assert "sha256" in reasons[wrong[0]]
    assert "no file of the project demo-pkg" in reasons[stranger[0]]
    assert "other-thing" in reasons[renamed[0]]
    assert all(text.isprintable() for pair in summary.bad for text in pair)
    assert [name for name in stored(app) if not name.endswith(".metadata")] == [
        f"demo-pkg/{good[0]}"
    ]
    assert f"/files/{stranger[0]}" not in other.paths


def test_another_file_of_the_same_name_is_reported_and_not_fetched(app, as_role, other):
    upload(as_role("developer"))
    name, body = wheel_bytes()
    offer(other, "demo-pkg", (name, body + b"other"))
    summary = from_index(app, f"{other.url}/simple/", "demo-pkg")
    ((what, reason),) = summary.bad
    assert (what, reason[:19]) == (name, "File already exists")
    assert other.paths == ["/simple/demo-pkg/"]


def test_an_index_that_goes_away_leaves_what_came_and_the_rest_comes_later(app, other):
    for name in ("one", "two"):
        offer(other, name, wheel_bytes(name=name), sdist_bytes(name=name))
    other.html("/simple/", '<a href="one/">one</a><a href="two/">two</a>')
    missing = f"/files/{sdist_bytes(name='two')[0]}"
    back = other.answers[missing]
    other.answer(missing, sites.Answer(status=503))
    with pytest.raises(Unavailable, match=r"two-1\.0\.tar\.gz answers with status 503"):
        from_index(app, f"{other.url}/simple/")
    assert counts()["File"] == 3
    other.answers[missing] = back
    other.asked.clear()
    summary = from_index(app, f"{other.url}/simple/")
    assert (summary.added, summary.known, summary.bad) == (1, 3, [])
    assert [path for path in other.paths if path.startswith("/files/")] == [missing]


def test_one_project_that_cannot_be_read_does_not_stop_the_others(app, other):
    other.html("/simple/", '<a href="one/">one</a><a href="two/">two</a>')
    other.answer("/simple/one/", sites.Answer(status=500))
    offer(other, "two", wheel_bytes(name="two"))
    summary = from_index(app, f"{other.url}/simple/")
    assert summary.added == 1
    ((what, reason),) = summary.bad
    assert (what, reason[-24:]) == ("the project one", "answers with status 500.")


def test_the_newest_file_says_what_the_release_is(app, other):
    wheel = wheel_bytes(metadata_extra="Summary: newer")
    sdist = sdist_bytes(metadata_extra="Summary: older")
    times = {wheel[0]: "2024-05-06T07:08:09Z", sdist[0]: "2023-05-06T07:08:09.5Z"}
    offer(other, "demo-pkg", wheel, sdist)
    document = listed(wheel, sdist)
    for file in document["files"]:
        file["upload-time"] = times[file["filename"]]
    other.json("/simple/demo-pkg/", document)
    from_index(app, f"{other.url}/simple/", "demo-pkg")
    assert Release.get().summary == "newer"
    assert File.named(sdist[0]).upload_time.isoformat() == "2023-05-06T07:08:09.500000+00:00"


@pytest.mark.parametrize(("yanked", "expected"), [(True, (True, "")), ("why", (True, "why"))])
def test_a_yanked_file_is_yanked_here_alone(app, other, yanked, expected):
    offer(other, "demo-pkg", wheel_bytes(), yanked=yanked)
    document = listed(wheel_bytes(), yanked=yanked)
    document["files"] += listed(sdist_bytes())["files"]
    other.json("/simple/demo-pkg/", document)
    other.answer(f"/files/{sdist_bytes()[0]}", sites.Answer(sdist_bytes()[1]))
    from_index(app, f"{other.url}/simple/", "demo-pkg")
    states = {file.filename: (file.yanked, file.yanked_reason) for file in File.select()}
    assert states == {wheel_bytes()[0]: expected, sdist_bytes()[0]: (False, "")}


def test_a_project_with_files_of_its_own_keeps_its_status(app, as_role, other):
    upload(as_role("developer"), *wheel_bytes(version="2.0"))
    document = listed(wheel_bytes())
    document["project-status"] = {"status": "archived", "reason": "moved"}
    offer(other, "demo-pkg", wheel_bytes())
    other.json("/simple/demo-pkg/", document)
    assert from_index(app, f"{other.url}/simple/", "demo-pkg").added == 1
    assert Package.get().status == "active"


@pytest.mark.parametrize("name", ["", "../simple", "b@d"])
def test_a_project_name_that_is_none_is_refused(app, other, name):
    with pytest.raises(InvalidInput, match="is no name of a project"):
        from_index(app, f"{other.url}/simple/", name)


def test_a_file_that_is_known_is_not_read_as_an_archive(app, as_role, tmp_path):
    upload(as_role("developer"))
    stored_at = app.site.storage.root / File.get().location
    stored_at.write_bytes(b"no archive")
    File.update(size=10, sha256=hashlib.sha256(b"no archive").hexdigest()).execute()
    (tmp_path / stored_at.name).write_bytes(b"no archive")
    summary = imported(app, [tmp_path / stored_at.name])
    assert (summary.known, summary.bad) == (1, [])


def test_a_file_of_a_time_to_come_is_of_today(app, tmp_path):
    name, body = wheel_bytes()
    (tmp_path / name).write_bytes(body)
    os.utime(tmp_path / name, (2**33, 2**33))
    assert imported(app, [tmp_path / name]).added == 1
    assert File.get().upload_time.year == datetime.now(timezone.utc).year


def test_the_command_says_what_it_took_and_what_stood_in_the_way(
    settings, tables, source, other, tmp_path, monkeypatch, capsys
):
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    (tmp_path / "config.py").write_text("\n".join(lines))
    monkeypatch.setenv("EXTRAPYPI_CONFIG", str(tmp_path / "config.py"))

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["import", *words])
        told = capsys.readouterr()
        return status, told.out.strip(), told.err.strip()

    words = ("--index-url", source.simple_for())
    assert run(*words) == (0, "Files: 4 added, 0 there already, 0 skipped.", "")
    project = ("--project", "old-pkg", "--project", "none")
    status, figures, reasons = run(*words, *project)
    assert (status, figures) == (1, "Files: 0 added, 1 there already, 1 skipped.")
    assert reasons.startswith("Skipped the project none: http://127.0.0.1")
    assert PASSWORDS[INSTALLER] not in reasons
    assert "asks for a user name and a password" in run("--index-url", source.simple)[2]
    other.answer("/simple/", sites.Answer(status=503))
    status, _, reasons = run("--index-url", f"{other.url}/simple")
    assert (status, reasons.splitlines()[0]) == (1, GOES_ON)
    assert "needs the role maintainer" in run(*words, "--user", "installer")[2]
    assert "--project needs --index-url" in run(*project)[2]
    assert "no URL of an index" in run("--index-url", "nonsense")[2]


def test_files_beside_the_storage_are_copied_whatever_their_path_looks_like(
    app, tmp_path, monkeypatch
):
    root = app.site.storage.root
    original = root.parent / "old" / wheel_bytes()[0]
    original.parent.mkdir()
    original.write_bytes(wheel_bytes()[1])
    monkeypatch.chdir(root)
    summary = importing.Summary()
    importing.import_folders(app.site.storage, COMMAND_LINE, [root / ".." / "old"], summary)
    assert summary.added == 1
    assert original.exists()


def test_two_files_of_one_name_in_the_storage_are_both_there_afterwards(app):
    root = app.site.storage.root
    filename, good = wheel_bytes()
    _, other = wheel_bytes(description="another")
    for folder, body in (("attic", other), ("demo-pkg", good)):
        (root / folder).mkdir()
        (root / folder / filename).write_bytes(body)
    importing.import_folders(app.site.storage, COMMAND_LINE, [root], importing.Summary())
    kept = [path.read_bytes() for path in root.rglob(filename)]
    assert sorted(kept) == sorted([good, other])

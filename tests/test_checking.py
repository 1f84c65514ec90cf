"""Comparing the database with the storage, and mending what differs."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Thread

import pytest
from archives_made import sdist_bytes, wheel_bytes
from conftest import COMMAND_LINE, USERS, as_user, at_once, counts, stored, upload

from extrapypi import checking, database, mending, packages
from extrapypi.commandline import main
from extrapypi.models import File, Journal, Package, Release, Serial, UsedFilename
from extrapypi.storage import LocalStorage

WHEEL, BODY = wheel_bytes()
PLACE = f"demo-pkg/{WHEEL}"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def root(app, as_role) -> Path:
    """The folder of a storage with one wheel, which is on the index."""
    upload(as_role("developer"))
    return app.site.storage.root


def repaired(app, deep: bool = False) -> list[tuple[str, str]]:
    """Kind of each fault that was found, and what was done."""
    storage = app.site.storage
    faults = list(checking.check(storage, deep))
    return [(fault.kind, done) for fault, done in mending.repair(storage, COMMAND_LINE, faults)]


def aside(root: Path) -> dict[str, bytes]:
    """What was set aside: its path without the date, and its bytes."""
    found = (path for path in (root / ".aside").rglob("*") if path.is_file())
    return {str(Path(*path.relative_to(root).parts[2:])): path.read_bytes() for path in found}


def is_sound(app) -> bool:
    """Whether nothing is wrong, and the wheel is what it was."""
    path = app.site.storage.root / File.get(File.filename == WHEEL).location
    return not list(checking.check(app.site.storage, deep=True)) and path.read_bytes() == BODY


def flip(path: Path) -> None:
    """Changes one byte of the file."""
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)


def test_a_healthy_index_has_no_faults(app, as_role):
    upload(as_role("developer"))
    upload(as_role("developer"), *sdist_bytes())
    assert list(checking.check(app.site.storage, deep=True)) == []


@pytest.mark.parametrize(
    ("damage", "deep", "words"),
    [
        (lambda path: path.unlink(), False, "missing: demo_pkg-1.0.*not in the storage with"),
        (lambda path: path.write_bytes(b"short"), False, "missing: demo_pkg.* with its"),
        (lambda path: path.with_name(path.name + ".metadata").unlink(), False, "missing: the core"),
        (lambda path: path.with_name("stray.whl").write_bytes(b"x"), False, "leftover: .*stray"),
        (lambda path: (path.parent.parent / "x").write_bytes(b"x"), False, "leftover: x is"),
        (lambda path: flip(path), True, "digest: demo_pkg"),
        (lambda path: flip(path.with_name(path.name + ".metadata")), True, "digest: the core"),
    ],
)
@on_sqlite
def test_each_kind_of_damage_is_found_and_nothing_is_changed(app, root, damage, deep, words):
    damage(root / PLACE)
    before = stored(app)
    (fault,) = checking.check(app.site.storage, deep)
    assert re.match(words, str(fault))
    assert stored(app) == before
    if deep:
        assert list(checking.check(app.site.storage)) == []


@on_sqlite
def test_a_file_of_an_old_format_needs_no_core_metadata(app, root):
    (root / f"{PLACE}.metadata").unlink()
    File.update(packagetype="bdist_egg", metadata_sha256=None).execute()
    assert list(checking.check(app.site.storage, deep=True)) == []


def test_bytes_that_lie_elsewhere_go_back_to_their_place(app, root):
    (root / PLACE).rename(root / "elsewhere.whl")
    (root / "same-size.whl").write_bytes(b"x" * len(BODY))
    (mended, done), *others = repaired(app)
    assert (mended, "from elsewhere.whl" in done) == ("bytes", True)
    assert [kind for kind, _ in others] == ["leftover"] * 2
    assert is_sound(app)
    assert aside(root) == {"elsewhere.whl": BODY, "same-size.whl": b"x" * len(BODY)}
    lines = Journal.select().where(Journal.action.in_(["repair", "set aside"]))
    assert [(line.who, line.filename) for line in lines.order_by(Journal.id)] == [
        (COMMAND_LINE.username, WHEEL),
        (COMMAND_LINE.username, ""),
        (COMMAND_LINE.username, ""),
    ]


@pytest.mark.parametrize("wrong", [b"short", b"x" * len(BODY)])
@on_sqlite
def test_wrong_bytes_are_set_aside_before_the_right_ones_take_their_place(app, root, wrong):
    (root / PLACE).write_bytes(wrong)
    (root / "good.whl").write_bytes(BODY)
    assert all(done for _, done in repaired(app, deep=True))
    assert is_sound(app)
    assert aside(root) == {PLACE: wrong, "good.whl": BODY}


@on_sqlite
def test_wrong_bytes_without_right_ones_stay_and_so_does_the_row(app, root):
    flip(root / PLACE)
    wrong = (root / PLACE).read_bytes()
    assert repaired(app, deep=True) == [("bytes", "")]
    assert (root / PLACE).read_bytes() == wrong
    assert counts()["File"] == 1
    (root / PLACE).unlink()
    assert repaired(app) == [("bytes", "")]
    assert counts()["File"] == 1


@pytest.mark.parametrize(("name", "body"), [(WHEEL, BODY), sdist_bytes()])
@on_sqlite
def test_core_metadata_is_made_again_from_the_file(app, as_role, name, body):
    upload(as_role("developer"), name, body)
    sidecar = app.site.storage.root / f"demo-pkg/{name}.metadata"
    right = sidecar.read_bytes()
    sidecar.unlink()
    ((kind, done),) = repaired(app)
    assert (kind, bool(done)) == ("metadata", True)
    assert sidecar.read_bytes() == right
    assert list(checking.check(app.site.storage, deep=True)) == []


@on_sqlite
def test_wrong_core_metadata_is_set_aside_and_made_again(app, root):
    sidecar = root / f"{PLACE}.metadata"
    sidecar.write_bytes(b"Name: other")
    ((kind, done),) = repaired(app, deep=True)
    assert (kind, ".aside" in done) == ("metadata", True)
    assert is_sound(app)
    assert aside(root) == {f"{PLACE}.metadata": b"Name: other"}


@on_sqlite
def test_core_metadata_that_is_not_the_listed_is_not_made(app, root):
    File.update(metadata_sha256="0" * 64).execute()
    before = stored(app)
    assert repaired(app, deep=True) == [("metadata", "")]
    assert stored(app) == before


@on_sqlite
def test_leftovers_are_set_aside_and_never_replace_one_another(app, root):
    for body in (b"one", b"two"):
        (root / "demo-pkg" / "stray.whl").write_bytes(body)
        (root / "demo-pkg" / "stray.whl.metadata").write_bytes(body)
        assert [kind for kind, done in repaired(app) if done] == ["leftover", "leftover"]
    assert is_sound(app)
    assert sorted(aside(root).items()) == [
        ("demo-pkg/stray.whl", b"one"),
        ("demo-pkg/stray.whl.1", b"two"),
        ("demo-pkg/stray.whl.metadata", b"one"),
        ("demo-pkg/stray.whl.metadata.1", b"two"),
    ]


@on_sqlite
def test_nothing_is_set_aside_while_the_index_lists_no_files(app, root):
    before = stored(app)
    Package.named("demo-pkg").remove()  # as if the database were another one
    assert [done for _, done in repaired(app)] == ["", ""]
    assert stored(app) == before


@on_sqlite
def test_what_may_be_on_its_way_is_no_leftover(root):
    class Remote(LocalStorage):
        def on_its_way(self, location: str) -> bool:
            return location == "incoming.whl"

    for name in ("incoming.whl", "stray.whl"):
        (root / name).write_bytes(b"x")
    (fault,) = checking.check(Remote(str(root)))
    assert fault.subject == "stray.whl"


@on_sqlite
def test_what_was_put_right_after_it_was_found_is_left_alone(app, as_role, root):
    storage = app.site.storage
    other, body = wheel_bytes(name="other")
    (root / "other").mkdir()
    (root / "other" / other).write_bytes(b"left by a crash")
    File.update(location="lost").execute()
    faults = list(checking.check(storage))
    assert [fault.kind for fault in faults] == ["bytes", "leftover", "leftover", "leftover"]
    File.update(location=PLACE).execute()
    upload(as_role("developer"), other, body)
    done = [done for _, done in mending.repair(storage, COMMAND_LINE, faults)]
    assert all("no longer so" in text or "by now" in text for text in done)
    assert is_sound(app)
    assert aside(root) == {f"other/{other}": b"left by a crash"}  # by the upload

    (root / PLACE).rename(root / "elsewhere.whl")
    faults = list(checking.check(storage))
    packages.delete(storage, COMMAND_LINE, "demo-pkg")
    (_, done), _ = mending.repair(storage, COMMAND_LINE, faults)
    assert "no longer so" in done


def test_projects_and_releases_without_files_go(app, as_role, root):
    for version in ("2.0", "3.0"):
        upload(as_role("developer"), *wheel_bytes(version=version))
    upload(as_role("developer"), *wheel_bytes(name="empty"))
    File.delete().where(File.filename != WHEEL).execute()
    Release.delete().where(Release.package == Package.named("empty")).execute()
    faults = [str(fault) for fault in checking.check(app.site.storage) if fault.kind == "empty"]
    assert faults == [
        "empty: the release 2.0 of demo-pkg has no files.",
        "empty: the release 3.0 of demo-pkg has no files.",
        "empty: the project empty has no releases.",
    ]
    assert all(done for _, done in repaired(app))
    assert is_sound(app)
    assert counts()["Package"] == counts()["Release"] == 1


def test_a_name_that_others_could_take_is_kept_again(app, root):
    UsedFilename.delete().execute()
    ((kind, done),) = repaired(app)
    assert (kind, bool(done)) == ("name", True)
    assert UsedFilename.get(UsedFilename.filename == WHEEL).sha256 == File.get().sha256
    assert is_sound(app)


def test_numbers_that_are_kept_and_are_not_right_are_made_anew(app, root, as_role):
    upload(as_role("developer"), *wheel_bytes(name="other"))
    for column in ("release_count", "file_count", "offered_count", "total_size"):
        Package.update({column: 7}).where(Package.name == "other").execute()
        assert ("numbers", "The numbers of other are right again.") in repaired(app)
        assert is_sound(app)
    Serial.update(files=7, projects=7).execute()
    assert repaired(app) == [("sums", "The sums of the index are right again.")]
    assert is_sound(app)


@on_sqlite
def test_temporary_files_go_unless_they_are_written_to(app, root):
    incoming = app.site.storage.receive()
    (root / ".incoming" / "left").touch()
    assert repaired(app) == []
    assert list((root / ".incoming").iterdir()) == [incoming.path]
    incoming.discard()


def left_by_a_crash(root: Path) -> Path:
    """The path of a file that lies there with a note of it, and is not on the index."""
    path = root / "demo-pkg" / "left.whl"
    path.write_bytes(b"left")
    LocalStorage(str(root)).note("demo-pkg/left.whl")
    return path


@on_sqlite
def test_what_a_note_tells_of_is_no_fault_and_goes_within_a_day(app, root):
    path = left_by_a_crash(root)
    LocalStorage(str(root)).note(PLACE)  # by a crash just after the commit
    assert is_sound(app)
    app.site.writer.flush()
    assert path.exists()
    app.site.sweeper.due = 0  # as it is after a day
    app.site.writer.flush()
    assert not path.exists()
    assert list((root / ".incoming").iterdir()) == []
    assert is_sound(app)


@on_sqlite
def test_nothing_is_swept_up_while_the_index_lists_no_files(app, root):
    path = left_by_a_crash(root)
    Package.named("demo-pkg").remove()  # as if the database were another one
    mending.sweep(app.site.storage)
    assert path.exists()
    assert len(list((root / ".incoming").iterdir())) == 1


@on_sqlite
def test_an_upload_whose_transaction_fails_behind_the_storage_leaves_nothing_for_long(
    app, as_role, root
):
    before = stored(app)
    refusal = "BEFORE INSERT ON journal BEGIN SELECT raise(ABORT, 'not now'); END"
    database.database.execute_sql(f"CREATE TRIGGER refusal {refusal}")
    upload(as_role("developer"), *wheel_bytes(version="2.0"), status=500)
    assert is_sound(app)
    mending.sweep(app.site.storage)
    assert stored(app) == before
    assert list(app.site.storage.notes()) == []


@on_sqlite
def test_files_can_be_deleted_where_nothing_can_be_noted(app, root):
    (root / ".incoming").rmdir()  # as on a disk that is full, or knows no links
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg")
    assert stored(app) == []


def test_repairs_while_files_come_and_go_take_nothing_that_is_on_the_index(app, root):
    def come_and_go(number: int) -> None:
        client = as_user(app, "developer", USERS["developer"])
        for version in range(6):
            upload(client, *wheel_bytes(name=f"busy-{number}", version=f"{version}.0"))
            if version % 2:
                packages.delete(app.site.storage, COMMAND_LINE, f"busy-{number}", f"{version}.0")

    others = Thread(target=at_once, args=(2, come_and_go))
    others.start()
    while others.is_alive():
        repaired(app, deep=True)
    others.join()
    assert repaired(app, deep=True) == []
    assert is_sound(app)
    assert counts()["File"] == 7


@on_sqlite
def test_the_command_ends_with_1_while_something_is_wrong(app, root, monkeypatch, capsys):
    monkeypatch.setenv("EXTRAPYPI_BASE_DIR", str(app.site.config.BASE_DIR))
    (root / "stray").write_bytes(b"x")
    assert main(["check"]) == 1
    assert "leftover: stray" in capsys.readouterr().out
    assert main(["check", "--repair"]) == 0
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"mended: stray is now \.aside/[0-9-]+/stray\.\nFiles: 1, faults: 1, mended: 1\.\n", printed
    )
    (root / PLACE).unlink()
    assert main(["check", "--repair"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(f"missing: {WHEEL} is not in the storage with its")
    assert printed.endswith("Files: 1, faults: 1, mended: 0.\n")

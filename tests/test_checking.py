"""Importing folders, and comparing the database with the storage."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest
from archives_made import sdist_bytes, wheel_bytes
from conftest import COMMAND_LINE, counts, stored, upload

from extrapypi import transfer
from extrapypi.errors import InvalidInput
from extrapypi.models import File

THEN = datetime(2019, 5, 6, 7, 8, 9, tzinfo=timezone.utc)


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


def test_an_import_takes_what_is_good_keeps_its_time_and_names_the_rest(app, folder):
    summary = transfer.import_folders(app.site.storage, COMMAND_LINE, [folder])
    assert (summary.added, summary.known) == (3, 0)
    assert [path.name for path, _ in summary.bad] == ["broken-1.0.tar.gz", "old-1.0.egg"]
    assert all(reason for _, reason in summary.bad)
    assert {file.upload_time for file in File.select()} == {THEN}
    assert counts()["Package"] == 2
    assert (folder / "demo_pkg-1.0-py3-none-any.whl").exists()  # copied, not moved


def test_a_second_import_adds_nothing(app, folder):
    transfer.import_folders(app.site.storage, COMMAND_LINE, [folder])
    summary = transfer.import_folders(app.site.storage, COMMAND_LINE, [folder])
    assert (summary.added, summary.known, len(summary.bad)) == (0, 3, 2)


def test_files_that_lie_in_the_storage_are_registered_and_moved_to_their_place(app):
    root = app.site.storage.root
    (root / "Demo.Pkg").mkdir()
    (root / "other").mkdir()
    (root / "Demo.Pkg" / wheel_bytes()[0]).write_bytes(wheel_bytes()[1])
    name, body = wheel_bytes(name="other")
    (root / "other" / name).write_bytes(body)
    storage = app.site.storage
    summary = transfer.import_folders(storage, COMMAND_LINE, storage.folders)
    assert (summary.added, summary.bad) == (2, [])
    assert [name for name in stored(app) if not name.endswith(".metadata")] == [
        "demo-pkg/demo_pkg-1.0-py3-none-any.whl",
        f"other/{name}",
    ]
    assert list(transfer.check(storage, deep=True)) == []


def test_a_folder_that_is_not_there_is_named(app, tmp_path):
    with pytest.raises(InvalidInput, match=r"no folder .*nothing"):
        transfer.import_folders(app.site.storage, COMMAND_LINE, [tmp_path / "nothing"])


def test_a_healthy_index_has_no_faults(app, as_role):
    upload(as_role("developer"))
    upload(as_role("developer"), *sdist_bytes())
    assert list(transfer.check(app.site.storage, deep=True)) == []


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
def test_each_kind_of_damage_is_found(app, as_role, damage, deep, words):
    upload(as_role("developer"))
    damage(app.site.storage.root / File.get().location)
    (fault,) = transfer.check(app.site.storage, deep)
    assert __import__("re").match(words, fault)
    if deep:
        assert list(transfer.check(app.site.storage)) == []


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
    summary = transfer.import_folders(app.site.storage, COMMAND_LINE, app.site.storage.folders)
    assert (summary.added, summary.known) == (0, 1)
    assert stored_at.read_bytes() == body
    assert not only_copy.exists()
    assert list(transfer.check(app.site.storage, deep=True)) == []


def test_what_is_no_regular_file_is_passed_over(app, tmp_path):
    os.mkfifo(tmp_path / "demo-1.0.tar.gz")
    summary = transfer.import_folders(app.site.storage, COMMAND_LINE, [tmp_path])
    assert (summary.added, summary.bad) == (0, [])


def test_importing_the_storage_by_another_path_removes_nothing(app, as_role, monkeypatch):
    upload(as_role("developer"))
    root = app.site.storage.root
    monkeypatch.chdir(root)
    summary = transfer.import_folders(app.site.storage, COMMAND_LINE, [f"../{root.name}"])
    assert summary.known == 1
    assert list(transfer.check(app.site.storage, deep=True)) == []


def test_a_damaged_file_is_mended_from_a_good_copy(app, as_role):
    filename, body = wheel_bytes()
    upload(as_role("developer"), filename, body)
    kept = app.site.storage.root / File.get().location
    flip(kept)
    copy = app.site.storage.root / filename
    copy.write_bytes(body)
    transfer.import_folders(app.site.storage, COMMAND_LINE, app.site.storage.folders)
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
    transfer.remove_if_moved(app.site.storage, copy)
    assert copy.exists()

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
    """A folder with three distributions, nested and flat, and three files that are none."""
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
    (folder / "broken-1.0.tar.gz").write_bytes(b"no archive")
    (folder / "demo_pkg-1.0.tar.gz.asc").write_text("a signature")
    return folder


def test_an_import_takes_what_is_good_keeps_its_time_and_names_the_rest(app, folder):
    summary = transfer.import_folders(app.site.storage, COMMAND_LINE, [folder], quiet=True)
    assert (summary.added, summary.known) == (3, 0)
    assert [path.name for path, _ in summary.bad] == ["broken-1.0.tar.gz", "notes.txt"]
    assert all(reason for _, reason in summary.bad)
    assert {file.upload_time for file in File.select()} == {THEN}
    assert counts()["Package"] == 2
    assert (folder / "demo_pkg-1.0-py3-none-any.whl").exists()  # copied, not moved


def test_a_second_import_adds_nothing(app, folder):
    transfer.import_folders(app.site.storage, COMMAND_LINE, [folder], quiet=True)
    summary = transfer.import_folders(app.site.storage, COMMAND_LINE, [folder], quiet=True)
    assert (summary.added, summary.known, len(summary.bad)) == (0, 3, 2)


def test_files_that_lie_in_the_storage_are_registered_and_moved_to_their_place(app):
    root = app.site.storage.root
    (root / "Demo.Pkg").mkdir()
    (root / "other").mkdir()
    (root / "Demo.Pkg" / wheel_bytes()[0]).write_bytes(wheel_bytes()[1])
    name, body = wheel_bytes(name="other")
    (root / "other" / name).write_bytes(body)
    storage = app.site.storage
    summary = transfer.import_folders(storage, COMMAND_LINE, storage.folders, quiet=True)
    assert (summary.added, summary.bad) == (2, [])
    assert [name for name in stored(app) if not name.endswith(".metadata")] == [
        "demo-pkg/demo_pkg-1.0-py3-none-any.whl",
        f"other/{name}",
    ]
    assert list(transfer.check(storage, deep=True)) == []


def test_a_folder_that_is_not_there_is_named(app, tmp_path):
    with pytest.raises(InvalidInput, match=r"no folder .*nothing"):
        transfer.import_folders(app.site.storage, COMMAND_LINE, [tmp_path / "nothing"], quiet=True)


def test_a_healthy_index_has_no_faults(app, as_role):
    upload(as_role("developer"))
    upload(as_role("developer"), *sdist_bytes())
    assert list(transfer.check(app.site.storage, deep=True)) == []


@pytest.mark.parametrize(
    ("damage", "deep", "words"),
    [
        (lambda path: path.unlink(), False, "missing: demo_pkg-1.0.*not in the storage"),
        (lambda path: path.write_bytes(b"short"), False, "size: .* has 5 bytes"),
        (lambda path: path.with_name(path.name + ".metadata").unlink(), False, "missing: the core"),
        (lambda path: path.with_name("stray.whl").write_bytes(b"x"), False, "leftover: .*stray"),
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

"""The contract of every storage driver, and how a driver is found."""

from __future__ import annotations

import hashlib
import sys

import pytest

from extrapypi.errors import ConfigError, NoRoom, StorageError
from extrapypi.incoming import Incoming
from extrapypi.models import File, Package
from extrapypi.storage import BaseStorage, LocalStorage, get_store

BODY = b"the bytes of a wheel" * 100
METADATA = b"Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\n"
NAME = "demo_pkg-1.0-py3-none-any.whl"


class StorageContract:
    """What a driver has to do; inherit it and give a fixture ``storage``."""

    @pytest.fixture
    def package(self) -> Package:
        return Package(id=1, name="Demo.Pkg", normalized_name="demo-pkg")

    @pytest.fixture
    def store(self, storage, package):
        """A function that stores a file and returns its row."""

        def store(filename: str = NAME, body: bytes = BODY) -> File:
            incoming = storage.receive()
            incoming.write(body)
            incoming.finish()
            incoming.filename, incoming.metadata = filename, METADATA
            storage.prepare(package, incoming)
            storage.create_package(package)
            location = storage.create_release(package, incoming)
            incoming.discard()
            return File(filename=filename, location=location, size=len(body))

        return store

    def test_what_comes_in_is_measured_on_the_way(self, storage):
        incoming = storage.receive()
        for chunk in (b"", b"small", b"x" * 600_000):  # the last one is hashed in threads
            incoming.write(chunk)
        incoming.finish()
        body = b"small" + b"x" * 600_000
        assert incoming.size == len(body)
        assert incoming.digests == {
            "md5": hashlib.md5(body).hexdigest(),
            "sha256": hashlib.sha256(body).hexdigest(),
            "blake2b_256": hashlib.blake2b(body, digest_size=32).hexdigest(),
        }
        incoming.discard()
        incoming.discard()

    def test_a_stored_file_and_its_metadata_come_back(self, storage, package, store):
        file = store()
        assert storage.get_file(file.location).read_bytes() == BODY
        assert storage.get_metadata(file.location) == METADATA
        assert storage.get_files(package) == [NAME]
        assert (file.location, len(BODY)) in list(storage.stored())

    def test_what_was_discarded_is_nowhere(self, storage, package):
        incoming = storage.receive()
        incoming.write(BODY)
        incoming.discard()
        assert list(storage.stored()) == []
        assert storage.get_files(package) == []

    def test_a_leftover_without_a_row_is_replaced(self, storage, package, store):
        store(body=b"left by a crash")
        assert storage.get_file(store().location).read_bytes() == BODY

    def test_deleting_takes_the_file_with_its_metadata_and_may_be_repeated(
        self, storage, package, store
    ):
        gone, kept = store(), store("demo_pkg-2.0-py3-none-any.whl")
        for _ in range(2):
            storage.delete_file(gone.location)
        assert storage.get_files(package) == [kept.filename]
        with pytest.raises(StorageError):
            storage.get_metadata(gone.location)
        storage.delete_package(package)
        assert storage.get_files(package) == [kept.filename]
        storage.delete_file(kept.location)
        storage.delete_package(package)
        assert list(storage.stored()) == []

    def test_the_metadata_of_all_releases_is_told(self, storage, store):
        store()
        ((project, metadata),) = storage.get_releases_metadata()
        assert (project, metadata["name"], metadata["version"]) == ("demo-pkg", "demo-pkg", "1.0")

    def test_a_storage_that_works_answers_a_ping(self, storage):
        storage.ping()


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path) -> LocalStorage:
        return LocalStorage(packages_root=str(tmp_path / "packages"))

    def test_what_uploads_left_is_swept_when_it_is_old(self, storage):
        import os

        fresh, old = storage.receive(), storage.receive()
        os.utime(old.path, (0, 0))
        storage.sweep()
        assert [path.name for path in storage.incoming.iterdir()] == [fresh.path.name]
        fresh.discard()
        old.discard()

    def test_a_missing_folder_is_a_failing_ping(self, storage):
        storage.incoming.rmdir()
        with pytest.raises(StorageError, match="cannot be read and written"):
            storage.ping()

    def test_a_full_disk_is_no_room(self):
        with open("/dev/full", "wb", buffering=0) as full, pytest.raises(NoRoom):
            Incoming(None, full).write(BODY)


class Recorder(LocalStorage):
    """A driver of somebody else's, for the tests below."""

    NAME = "Recorder"


def test_drivers_are_found_by_name_and_by_dotted_path(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "their_driver", sys.modules[__name__])
    params = {"packages_root": str(tmp_path)}
    assert type(get_store("LocalStorage", params)) is LocalStorage
    assert type(get_store("their_driver:Recorder", params)) is Recorder


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("Local", {}, "known are LocalStorage"),
        ("os:getcwd", {}, "no kind of"),
        ("..x:y", {}, "cannot be loaded"),
        ("LocalStorage", {"packages_root": "a\0b"}, "cannot be used"),
        ("no_such_module:X", {}, "cannot be loaded"),
        ("extrapypi.storage:NoSuch", {}, "cannot be loaded"),
        ("LocalStorage", {}, "packages_root"),
        ("LocalStorage", {"packages_root": "/x", "bukket": 1}, "bukket"),
        ("LocalStorage", {"packages_root": "/dev/null/x"}, "storage fails"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(name, params, words):
    with pytest.raises(ConfigError, match=words):
        get_store(name, params)


def test_the_contract_is_complete(tmp_path):
    asked = {name for name in vars(BaseStorage) if not name.startswith("_")}
    assert asked >= {"receive", "prepare", "create_release", "delete_file", "stored", "ping"}

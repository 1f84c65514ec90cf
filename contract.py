"""What every storage driver has to do, as tests that a driver's author inherits.

With pytest installed, in a test module of the driver::

    import pytest
    from my_module import MyStorage

    from extrapypi.contract import StorageContract

    class TestMyStorage(StorageContract):
        @pytest.fixture
        def storage(self, tmp_path):
            return MyStorage(folder=str(tmp_path))
"""

from __future__ import annotations

import hashlib
from contextlib import closing

import pytest

from extrapypi.errors import StorageError
from extrapypi.incoming import Incoming
from extrapypi.models import File, Package
from extrapypi.storage import SIDECAR, BaseStorage

BODY = b"the bytes of a wheel" * 100
METADATA = b"Metadata-Version: 2.1\nName: demo-pkg\nVersion: 1.0\n"
NAME = "demo_pkg-1.0-py3-none-any.whl"


def received(storage: BaseStorage, filename: str = NAME, body: bytes = BODY) -> Incoming:
    """A file that has come in, with its core metadata, and is not stored yet."""
    incoming = storage.receive()
    incoming.write(body)
    incoming.finish()
    incoming.filename, incoming.metadata = filename, METADATA
    return incoming


def content(storage: BaseStorage, file: File, start: int = 0, stop: int | None = None) -> bytes:
    """The bytes of a stored file, or of a part of it."""
    with closing(storage.get_file(file.location, start, stop)) as stream:
        return b"".join(iter(lambda: stream.read(64 * 1024), b""))[: stop and stop - start]


class StorageContract:
    """What a driver has to do; inherit it and give a fixture ``storage``, empty at first."""

    @pytest.fixture
    def package(self) -> Package:
        return Package(id=1, name="Demo.Pkg", normalized_name="demo-pkg")

    @pytest.fixture
    def store(self, storage, package):
        """A function that stores a file and returns its row."""

        def store(filename: str = NAME, body: bytes = BODY) -> File:
            incoming = received(storage, filename, body)
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

    @pytest.mark.parametrize("size", [1, 2 * 1024**2])  # in memory, on the disk
    def test_what_comes_in_is_read_from_its_start_on(self, storage, size):
        body = (BODY * (size // len(BODY) + 1))[:size]
        incoming = received(storage, body=body)
        for _ in range(2):
            assert incoming.content().read() == body
        incoming.discard()

    def test_what_comes_in_can_be_read_before_it_is_stored(self, storage):
        incoming = received(storage)
        incoming.stream.seek(4)
        assert incoming.stream.read(5) == BODY[4:9]
        incoming.discard()

    @pytest.mark.parametrize("size", [0, 1, 17 * 1024**2])  # the last one in parts, maybe
    def test_a_stored_file_comes_back_byte_for_byte(self, storage, store, size):
        body = (BODY * (size // len(BODY) + 1))[:size]
        assert content(storage, store(body=body)) == body

    @pytest.mark.parametrize(("start", "stop"), [(0, 1), (5, 9), (1999, 2000), (7, None)])
    def test_a_part_of_a_file_begins_where_it_was_asked_for(self, storage, store, start, stop):
        assert content(storage, store(), start, stop) == BODY[start:stop]

    def test_a_stored_file_is_known_with_its_size_and_metadata(self, storage, package, store):
        file = store()
        assert storage.has(file.location, len(BODY))
        assert not storage.has(file.location, len(BODY) + 1)
        assert storage.has_metadata(file.location)
        assert storage.get_metadata(file.location) == METADATA
        assert storage.get_files(package) == [NAME]
        assert (file.location, len(BODY)) in list(storage.stored())

    def test_the_place_of_a_file_is_a_disk_or_nowhere(self, storage, store):
        path = storage.get_path(store().location)
        assert path is None or path.read_bytes() == BODY

    def test_a_file_without_metadata_has_none(self, storage, package):
        incoming = received(storage)
        incoming.metadata = None
        storage.prepare(package, incoming)
        storage.create_package(package)
        location = storage.create_release(package, incoming)
        incoming.discard()
        assert storage.has(location, len(BODY))
        assert not storage.has_metadata(location)

    def test_what_was_discarded_is_nowhere(self, storage, package):
        for prepared in (False, True):
            incoming = received(storage)
            if prepared:
                storage.prepare(package, incoming)
            incoming.discard()
        assert list(storage.stored()) == []
        assert storage.get_files(package) == []

    @pytest.mark.parametrize("size", [1, 2 * 1024**2])  # the small one may be read from memory
    def test_a_transaction_that_is_repeated_stores_the_file_once(self, storage, package, size):
        incoming = received(storage, body=b"x" * size)
        storage.prepare(package, incoming)
        storage.create_package(package)
        first = storage.create_release(package, incoming)
        storage.create_package(package)
        assert storage.create_release(package, incoming) == first
        incoming.discard()
        assert storage.get_files(package) == [NAME]
        assert storage.has(first, size)

    def test_a_leftover_without_a_row_is_in_nobodys_way(self, storage, store):
        store(body=b"left by a crash")
        assert content(storage, store()) == BODY

    def test_what_is_not_there_is_an_error_that_says_so(self, storage, store):
        file = store()
        storage.delete_file(file.location)
        assert not storage.has(file.location, file.size)
        assert not storage.has_metadata(file.location)
        with pytest.raises(StorageError, match="not in the storage"):
            content(storage, file)
        with pytest.raises(StorageError, match="not in the storage"):
            storage.get_metadata(file.location)

    def test_deleting_takes_the_file_with_its_metadata_and_may_be_repeated(
        self, storage, package, store
    ):
        gone, kept = store(), store("demo_pkg-2.0-py3-none-any.whl")
        for _ in range(2):
            storage.delete_file(gone.location)
        assert storage.get_files(package) == [kept.filename]
        storage.delete_package(package)
        assert storage.get_files(package) == [kept.filename]
        storage.delete_file(kept.location)
        storage.delete_package(package)
        assert list(storage.stored()) == []

    def test_what_is_set_aside_is_kept_elsewhere_each_time(self, storage, store):
        places = {}
        for body in (BODY, b"other bytes of that name"):
            file = store(body=body)
            places[storage.set_aside(file.location)] = body
            assert not storage.has(file.location, file.size)
            assert storage.has_metadata(file.location)
        places[storage.set_aside(file.location + SIDECAR)] = METADATA
        assert not storage.has_metadata(file.location)
        for place, body in places.items():
            assert content(storage, File(location=place)) == body
        assert {location for location, _ in storage.stored()}.isdisjoint(places)
        with pytest.raises(StorageError, match="not in the storage"):
            storage.set_aside(file.location)

    def test_a_project_has_only_its_own_files(self, storage, package, store):
        other = Package(id=2, name="demo", normalized_name="demo")
        store()
        assert storage.get_files(other) == []
        storage.delete_package(other)
        assert storage.get_files(package) == [NAME]

    def test_the_metadata_of_all_releases_is_told(self, storage, store):
        store()
        ((project, metadata),) = storage.get_releases_metadata()
        assert (project, metadata["name"], metadata["version"]) == ("demo-pkg", "demo-pkg", "1.0")

    def test_sweeping_takes_nothing_that_is_stored_or_on_its_way(self, storage, package, store):
        file, incoming = store(), received(storage, "demo_pkg-2.0-py3-none-any.whl")
        storage.prepare(package, incoming)
        storage.sweep()
        location = storage.create_release(package, incoming)
        incoming.discard()
        assert storage.has(location, len(BODY))
        assert storage.has(file.location, len(BODY))

    def test_a_storage_that_works_answers_a_ping(self, storage):
        storage.ping()

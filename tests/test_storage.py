"""The contract of every storage driver, and how a driver is found."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import threading

import pytest
from clients import CHECKOUT
from conftest import at_once

from extrapypi.contract import StorageContract, received
from extrapypi.errors import ConfigError, NoRoom, StorageError
from extrapypi.incoming import AHEAD, CHUNK, Incoming, hashers
from extrapypi.storage import BaseStorage, LocalStorage, get_store

BODY = b"the bytes of a wheel" * 100


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path) -> LocalStorage:
        return LocalStorage(packages_root=str(tmp_path / "packages"))

    def test_what_is_written_to_is_not_swept_however_old_it_is(self, storage):
        incoming = storage.receive()
        os.utime(incoming.path, (0, 0))
        storage.sweep()
        assert incoming.path.exists()
        incoming.discard()

    def test_what_a_process_has_left_is_swept_at_once(self, storage):
        left = "import os, sys; from extrapypi.storage import LocalStorage; "
        left += "LocalStorage(sys.argv[1]).receive(); os._exit(1)"
        subprocess.run([sys.executable, "-c", left, storage.root], cwd=CHECKOUT)
        assert len(list(storage.incoming.iterdir())) == 1
        storage.sweep()
        assert list(storage.incoming.iterdir()) == []

    def test_files_and_sweepers_at_once_get_along(self, storage):
        def come_and_go(number: int) -> None:
            for _ in range(200):
                incoming = storage.receive()
                storage.sweep()
                assert incoming.path.exists()
                incoming.discard()

        at_once(4, come_and_go)
        assert list(storage.incoming.iterdir()) == []

    def test_what_was_swept_away_between_two_attempts_is_an_error(self, storage, package):
        incoming = received(storage)
        storage.prepare(package, incoming)
        storage.create_package(package)
        storage.delete_file(storage.create_release(package, incoming))
        with pytest.raises(StorageError, match="send it again"):
            storage.create_release(package, incoming)
        incoming.discard()

    def test_a_missing_folder_is_a_failing_ping(self, storage):
        storage.incoming.rmdir()
        with pytest.raises(StorageError, match="cannot be read and written"):
            storage.ping()

    def test_a_full_disk_is_no_room(self):
        with open("/dev/full", "wb", buffering=0) as full, pytest.raises(NoRoom):
            Incoming(None, full).write(BODY)

    def test_who_writes_faster_than_it_is_hashed_can_see_that(self, storage):
        turn = threading.Event()
        for hasher in hashers.values():
            hasher.submit(turn.wait)
        file = storage.receive()
        for _ in range(AHEAD):
            assert not file.is_behind
            file.write(bytes(CHUNK))
        assert file.is_behind
        turn.set()
        assert file.digests["sha256"] == hashlib.sha256(bytes(AHEAD * CHUNK)).hexdigest()
        assert not file.is_behind
        file.discard()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_what_another_user_has_left_is_swept_when_it_is_old():
    with tempfile.TemporaryDirectory() as folder:  # tmp_path is for one user only
        storage = LocalStorage(folder)
        old, fresh = storage.incoming / "old", storage.incoming / "fresh"
        for path in (old, fresh):
            path.touch(0o600)
        os.utime(old, (0, 0))
        for each in (storage.root, storage.incoming):
            each.chmod(0o777)
        os.seteuid(65534)
        try:
            storage.sweep()
        finally:
            os.seteuid(0)
        assert list(storage.incoming.iterdir()) == [fresh]


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
        ("LocalStorage", {"packages_root": "/dev/null/x"}, "cannot be written"),
    ],
)
def test_what_cannot_be_used_is_refused_at_the_start(name, params, words):
    with pytest.raises(ConfigError, match=words):
        get_store(name, params)


def test_the_contract_is_complete(tmp_path):
    asked = {name for name in vars(BaseStorage) if not name.startswith("_")}
    assert asked >= {"receive", "prepare", "create_release", "delete_file", "stored", "ping"}

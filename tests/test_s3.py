"""S3Storage with a real S3 server, and with a line to it that is cut or held."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import IncompleteRead

import pytest
import test_files
from archives_made import sdist_bytes, wheel_bytes
from clients import ADMIN, CHECKOUT, PASSWORDS, Index, Machine
from conftest import COMMAND_LINE, counts, upload
from s3_server import (
    ACCESS_KEY_ID,
    READER,
    SECRET_ACCESS_KEY,
    Line,
    free_ports,
)

from extrapypi import mending, packages, s3
from extrapypi.commandline import main
from extrapypi.contract import StorageContract, content, received
from extrapypi.errors import ConfigError, NoRoom, NotStored, StorageError
from extrapypi.models import File, Package
from extrapypi.objectstore import PART, Away, ObjectStore, refusal
from extrapypi.s3 import S3Storage
from extrapypi.storage import get_store

MIB = 1024**2
NAME, BODY = test_files.NAME, test_files.BODY
UV = {"User-Agent": "uv/0.13.9"}


@pytest.fixture(scope="session")
def server(object_store):
    """A running S3 server."""
    return object_store


@pytest.fixture
def bucket(server) -> str:
    """An empty bucket."""
    return server.new_bucket()


@pytest.fixture
def line(server):
    """A line to the server, which the test may cut."""
    with closing(Line(server.port)) as line:
        yield line


@pytest.fixture
def make(server, bucket, tmp_path):
    """A function that gives a storage with the bucket."""

    def make(**params) -> S3Storage:
        return S3Storage(**server.params(bucket, spool_folder=str(tmp_path / "spool"), **params))

    return make


@pytest.fixture
def storage(make) -> S3Storage:
    """A storage with an empty bucket."""
    return make()


@pytest.fixture
def distant(make, line) -> S3Storage:
    """A storage at the other end of the line; one second without an answer is too long for it."""
    return make(endpoint_url=line.url, timeout=1)


@pytest.fixture
def package() -> Package:
    return Package(id=1, name="Demo.Pkg", normalized_name="demo-pkg")


@pytest.fixture
def database_url(tmp_path) -> str:
    """Which database it is makes no difference here."""
    return f"sqlite:///{tmp_path}/index/extrapypi.db"


@pytest.fixture
def settings(settings, server, bucket):
    """The settings of an index whose files are in the bucket."""
    return {**settings, "STORAGE": "S3Storage", "STORAGE_PARAMS": server.params(bucket)}


def stored_file(storage: S3Storage, package: Package, body: bytes) -> File:
    """A file that is in the storage."""
    incoming = received(storage, body=body)
    storage.prepare(package, incoming)
    location = storage.create_release(package, incoming)
    incoming.discard()
    return File(location=location, size=len(body))


class TestS3Storage(StorageContract):
    """The contract, below a prefix."""

    @pytest.fixture
    def storage(self, make) -> S3Storage:
        return make(prefix="/a/prefix")

    @pytest.fixture
    def package(self) -> Package:
        return Package(id=1, name="Demo.Pkg", normalized_name="demo-pkg")


# What is where


def test_a_key_has_the_project_the_digest_and_the_name_and_is_never_used_twice(
    server, bucket, storage, package
):
    first, second = (stored_file(storage, package, BODY).location for _ in range(2))
    project, sha256, _, filename = first.split("/")
    assert (project, sha256, filename) == (
        "demo-pkg",
        test_files.TAG.strip('"'),
        "demo_pkg-1.0-py3-none-any.whl",
    )
    assert first != second
    storage.delete_file(first)
    assert server.keys(bucket) == [second, second + ".metadata"]


def test_prefixes_in_a_bucket_do_not_see_each_other(make, package):
    one, other = make(prefix="one"), make(prefix="other/")
    file = stored_file(one, package, BODY)
    assert list(other.stored()) == []
    assert other.get_files(package) == []
    assert not other.has(file.location, file.size)


def test_a_list_of_more_than_a_thousand_objects_is_complete(server, bucket, storage, package):
    place = f"demo-pkg/{'0' * 64}/{'1' * 32}"
    names = {f"{place}/{number}.whl" for number in range(1100)}
    with ThreadPoolExecutor(32) as pool:
        for put in [
            pool.submit(server.client.put_object, Bucket=bucket, Key=name, Body=b"x")
            for name in names
        ]:
            put.result()
    assert set(storage.stored()) == {(name, 1) for name in names}
    assert len(storage.get_files(package)) == 1100


def test_only_a_large_file_goes_in_parts(server, bucket, storage, package):
    sizes = {PART: 1, 2 * PART + 1: 3}
    for size, parts in sizes.items():
        location = stored_file(storage, package, os.urandom(size)).location
        etag = server.client.head_object(Bucket=bucket, Key=location)["ETag"].strip('"')
        assert int((etag.split("-")[1:] or "1")[0]) == parts


MEMORY = """
import json, os, resource, sys
from extrapypi.models import Package
from extrapypi.s3 import S3Storage

storage = S3Storage(**json.loads(sys.argv[1]))
package = Package(id=1, name="demo", normalized_name="demo")

def there_and_back(megabytes):
    incoming = storage.receive()
    for _ in range(megabytes):
        incoming.write(os.urandom(1024**2))
    incoming.finish()
    incoming.filename, incoming.metadata = "demo-1.0-py3-none-any.whl", b""
    storage.prepare(package, incoming)
    location = storage.create_release(package, incoming)
    incoming.discard()
    stream, size = storage.get_file(location), 0
    while chunk := stream.read(256 * 1024):
        size += len(chunk)
    stream.close()
    assert size == megabytes * 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

print(there_and_back(1), there_and_back(300))
"""


def in_a_process(code: str, *arguments: str) -> str:
    """What a Python program prints that runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_large_file_needs_no_memory_on_its_way_up_and_down(server, bucket):
    before, after = in_a_process(MEMORY, json.dumps(server.params(bucket))).split()
    assert int(after) - int(before) < 80 * 1024  # KiB


FORK = """
import json, os, sys
from extrapypi.s3 import S3Storage

storage = S3Storage(**json.loads(sys.argv[1]))
assert list(storage.stored()) == []
client = storage.store.client
child = os.fork()
if child == 0:
    assert storage.store.client is not client
    assert list(storage.stored()) == []
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert storage.store.client is client
assert list(storage.stored()) == []
"""


def test_processes_share_no_connection_after_a_fork(server, bucket):
    in_a_process(FORK, json.dumps(server.params(bucket)))


# Configuration


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"bucket": "no-such-bucket"}, "NoSuchBucket (HTTP status 404)"),
        ({"access_key_id": "SOMEBODYELSE"}, "InvalidAccessKeyId (HTTP status 403)"),
        ({"secret_access_key": "not-the-secret"}, "SignatureDoesNotMatch (HTTP status 403)"),
        ({"endpoint_url": "https://127.0.0.1:{port}"}, "cannot be reached by TLS"),
        ({"endpoint_url": "http://127.0.0.1:99999"}, "cannot be asked"),
        (
            {"endpoint_url": "s3.example.org"},
            "endpoint_url is 's3.example.org'; it must be None or",
        ),
        ({"endpoint_url": "https://u:not-the-secret@h"}, "endpoint_url is 'https://u:***@h'"),
        ({"public_endpoint_url": 5}, "public_endpoint_url is 5"),
        ({"public_endpoint_url": "http://under_score"}, "Invalid endpoint: http://under_score"),
        ({"bucket": "my bucket"}, "bucket is 'my bucket'; it must be the name of a bucket"),
        ({"prefix": "a\nb"}, "prefix is"),
        ({"region_name": "here & there"}, "region_name is"),
        ({"addressing_style": "dns"}, "it must be 'auto', 'path' or 'virtual'"),
        ({"signature_version": "v4"}, "it must be 's3v4' or 's3'"),
        ({"redirect": "pip"}, "redirect is 'pip'; it must be 'uv', True or False"),
        ({"redirect": 1}, "redirect is 1"),
        ({"redirect_lifetime": 0}, "redirect_lifetime is 0"),
        ({"timeout": True}, "timeout is True"),
        ({"spool_folder": "spool"}, "spool_folder is 'spool'; it must be None or an absolute"),
        ({"spool_folder": "/dev/null/x"}, "The storage fails: Not a directory"),
        ({"secret_access_key": None}, "access_key_id and secret_access_key are two texts"),
        ({"access_key_id": 5}, "access_key_id and secret_access_key are two texts"),
        ({"bukket": "x"}, "unexpected keyword argument 'bukket'"),
    ],
)
def test_what_the_store_refuses_or_makes_no_sense_stops_the_start(server, bucket, params, words):
    params = {
        name: value.format(port=server.port) if name == "endpoint_url" else value
        for name, value in params.items()
    }
    with pytest.raises(ConfigError) as caught:
        get_store("S3Storage", {**server.params(bucket), **params})
    assert words in str(caught.value)
    assert SECRET_ACCESS_KEY not in str(caught.value)
    assert "not-the-secret" not in str(caught.value)


def test_the_keys_are_in_nothing_that_is_printed(storage):
    assert SECRET_ACCESS_KEY not in repr(storage) + repr(vars(storage)) + repr(vars(storage.store))


def test_without_keys_they_come_from_where_boto3_finds_them(server, bucket, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    params = {**server.params(bucket), "access_key_id": None, "secret_access_key": None}
    get_store("S3Storage", params).ping()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SOMEBODYELSE")
    with pytest.raises(ConfigError, match="InvalidAccessKeyId"):
        get_store("S3Storage", params)


def test_boto3_is_asked_for_only_by_who_needs_it():
    in_a_process(
        "import sys; sys.modules['boto3'] = None\n"
        "from extrapypi.errors import ConfigError\n"
        "from extrapypi.storage import get_store\n"
        "get_store('LocalStorage', {'packages_root': '/tmp'})\n"
        "try: get_store('S3Storage', {})\n"
        "except ConfigError as error: assert 'with the extra s3' in str(error)\n"
        "else: raise AssertionError\n"
    )


@pytest.fixture
def written(tmp_path, monkeypatch, log):
    """A function that writes the configuration for the commands that follow."""
    monkeypatch.setenv("EXTRAPYPI_CONFIG", str(tmp_path / "config.py"))
    return (tmp_path / "config.py").write_text


def test_init_and_run_stop_with_one_sentence_for_a_wrong_key(written, server, bucket, capsys):
    written(server.settings(bucket))
    assert main(["init"]) == 0
    written(server.settings(bucket, secret_access_key="not-the-secret"))
    for command in (["init"], ["run", "--port", "0"]):
        capsys.readouterr()
        assert main(command) == 1
        said = capsys.readouterr().err
        assert said.startswith("extrapypi: STORAGE_PARAMS cannot be used: The bucket bucket-")
        assert said.count("\n") == 1


def test_init_stops_when_nobody_listens(written, server, bucket, capsys):
    written(server.settings(bucket, endpoint_url=f"http://127.0.0.1:{free_ports(1)[0]}"))
    assert main(["init"]) == 1
    assert "does not answer (EndpointConnectionError)." in capsys.readouterr().err


def test_a_server_starts_without_its_store_and_says_so(settings, log, request):
    settings["STORAGE_PARAMS"]["endpoint_url"] = f"http://127.0.0.1:{free_ports(1)[0]}"
    client = request.getfixturevalue("as_role")("developer")
    assert "does not answer" in log.read_text()
    assert "storage" in client.get("/health", status=503).status
    client.get("/ping", status=200)
    answer = upload(client, status=503)
    assert "does not answer" in answer.status
    assert answer.headers["Retry-After"] == "5"
    assert "Traceback" not in log.read_text()


# Answers of the store


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, NotStored),
        ("404", 404, NotStored),
        ("NoSuchBucket", 404, StorageError),
        ("AccessDenied", 403, StorageError),
        ("QuotaExceeded", 403, NoRoom),
        ("XMinioStorageFull", 507, NoRoom),
        ("SlowDown", 503, Away),
        ("TooManyRequests", 429, Away),
    ],
)
def test_an_answer_of_the_store_is_an_error_of_its_kind(code, status, kind):
    from botocore.exceptions import ClientError

    answer = {
        "Error": {"Code": code, "Message": f"{ACCESS_KEY_ID} may not"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    error = refusal(ClientError(answer, "PutObject"), "x/demo.whl", "The object store")
    assert type(error) is kind
    assert ACCESS_KEY_ID not in str(error)


def test_who_may_only_read_cannot_upload_and_is_told(settings, request):
    settings["STORAGE_PARAMS"] |= READER
    answer = upload(request.getfixturevalue("as_role")("developer"), status=503)
    assert "AccessDenied (HTTP status 403) to PutObject" in answer.status
    assert counts()["File"] == 0


# The index


@pytest.fixture
def client(as_role):
    """A client that may install, beside an index with one wheel."""
    upload(as_role("developer"), NAME, BODY)
    return as_role("installer")


def test_ranges_conditions_and_head_are_answered_as_from_a_disk(client):
    for header, part in test_files.RANGES:
        test_files.test_a_range_is_answered_with_its_bytes(client, header, part)
    test_files.test_who_has_the_file_gets_304(client)
    test_files.test_head_has_the_length_of_the_file(client)
    test_files.test_metadata_is_text_that_clients_keep(client)


def test_a_file_that_somebody_else_deleted_is_503_with_a_sentence(client, server, bucket):
    for key in server.keys(bucket):
        server.client.delete_object(Bucket=bucket, Key=key)
    for url in (test_files.URL, test_files.URL + ".metadata"):
        assert "not in the storage" in client.get(url, status=503).status


def test_the_same_file_again_mends_what_was_lost(client, as_role, server, bucket):
    for key in server.keys(bucket):
        server.client.delete_object(Bucket=bucket, Key=key)
    upload(as_role("developer"), NAME, BODY)
    assert client.get(test_files.URL).body == BODY


def test_a_refused_upload_and_the_same_file_again_leave_nothing_behind(
    client, as_role, server, bucket
):
    before = server.keys(bucket)
    upload(as_role("developer"), NAME, BODY)
    upload(as_role("developer"), NAME, wheel_bytes(metadata_extra="Summary: x")[1], status=400)
    assert server.keys(bucket) == before


def test_a_deleted_project_is_gone_from_the_bucket(client, app, server, bucket):
    packages.delete(app.site.storage, COMMAND_LINE, "demo-pkg")
    assert server.keys(bucket) == []


def test_check_tells_of_leftovers_once_they_are_old(client, app, package, monkeypatch):
    left = stored_file(app.site.storage, package, b"left by a crash").location
    for location in (left, "what/is/not/there/yet"):
        assert app.site.storage.on_its_way(location)
    monkeypatch.setattr(s3, "STALE", 0)
    assert not app.site.storage.on_its_way(left)


def test_no_key_or_signature_is_logged(client, log):
    assert client.get(test_files.URL, headers=UV, status=302).headers["Location"]
    client.get(test_files.URL)
    for secret in (SECRET_ACCESS_KEY, ACCESS_KEY_ID, "Signature"):
        assert secret not in log.read_text()


# Presigned URLs


@pytest.mark.parametrize(
    ("redirect", "agent", "is_redirected"),
    [
        ("uv", "uv/0.13.9 {}", True),
        ("uv", "pip/26.3", False),
        ("uv", "poetry/2 uv/1", False),
        ("uv", "", False),
        (True, "pip/26.3", True),
        (False, "uv/0.13.9", False),
    ],
)
def test_who_is_redirected_is_a_parameter(make, package, redirect, agent, is_redirected):
    assert (make(redirect=redirect).get_url("a/b/c/d", agent) is not None) == is_redirected


def test_a_presigned_url_gives_the_bytes_whole_and_in_part(client):
    answer = client.get(test_files.URL, headers=UV, status=302)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.body == b""
    with urllib.request.urlopen(answer.headers["Location"]) as stored:
        assert stored.read() == BODY
        assert stored.headers["Content-Type"] == "application/octet-stream"
        assert stored.headers["Content-Disposition"] == "attachment"
        assert stored.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    part = urllib.request.Request(answer.headers["Location"], headers={"Range": "bytes=5-9"})
    with urllib.request.urlopen(part) as stored:
        assert (stored.status, stored.read()) == (206, BODY[5:10])


def test_head_is_answered_here_because_a_presigned_url_is_for_get_only(client):
    answer = client.head(test_files.URL, headers=UV, status=200)
    assert answer.headers["Content-Length"] == str(len(BODY))
    assert answer.headers["Accept-Ranges"] == "bytes"


def test_a_presigned_url_has_the_host_and_the_end_that_the_parameters_say(make):
    storage = make(public_endpoint_url="https://files.example.org", redirect_lifetime=7)
    url = storage.get_url("demo/x", "uv/1")
    assert url.startswith("https://files.example.org/bucket-")
    assert "X-Amz-Expires=7&" in url


@pytest.mark.parametrize(
    ("bucket", "start"),
    [
        ("packages", "https://packages.s3.eu-central-1.amazonaws.com/a/b?"),
        ("our.packages", "https://s3.eu-central-1.amazonaws.com/our.packages/a/b?"),
    ],
)
def test_a_presigned_url_of_aws_names_the_region(bucket, start):
    keys = {"aws_access_key_id": ACCESS_KEY_ID, "aws_secret_access_key": SECRET_ACCESS_KEY}
    session = {"region_name": "eu-central-1", **keys}
    store = ObjectStore(bucket, "a/", None, 5, "auto", "s3v4", session)
    assert store.url("b", 60, None).startswith(start)


# A line that is cut, and one on which nothing moves


def test_a_download_goes_on_after_its_connection_broke(distant, package, line):
    file = stored_file(distant, package, os.urandom(5 * MIB))
    whole = content(distant, file)
    line.cut_after("down", 2 * MIB, lasting=False)
    assert content(distant, file) == whole
    line.cut_after("down", MIB, lasting=False)
    assert content(distant, file, 3 * MIB, 5 * MIB - 7) == whole[3 * MIB : -7]


def test_a_download_from_a_store_that_went_away_is_an_error(distant, package, line):
    file = stored_file(distant, package, os.urandom(5 * MIB))
    line.cut_after("down", 2 * MIB)
    with pytest.raises(StorageError, match="does not answer"):
        content(distant, file)
    with pytest.raises(StorageError, match="does not answer"):
        distant.get_file(file.location)
    line.mend()
    assert len(content(distant, file)) == file.size


def test_a_download_that_is_given_up_leaves_no_socket(storage, package):
    file = stored_file(storage, package, os.urandom(20 * MIB))
    content(storage, file)  # after which its connection waits for the next one
    connected = len(os.listdir("/dev/fd"))
    stream = storage.get_file(file.location)
    assert len(stream.read(10)) == 10
    assert len(os.listdir("/dev/fd")) == connected
    stream.close()
    assert len(os.listdir("/dev/fd")) == connected - 1
    assert len(content(storage, file)) == 20 * MIB


def test_a_store_that_says_nothing_is_not_waited_for_for_long(distant, line):
    line.flowing.clear()
    with pytest.raises(StorageError, match=r"does not answer \(ReadTimeoutError\)"):
        distant.ping()
    with pytest.raises(StorageError, match=r"does not answer \(ReadTimeoutError\)"):
        distant.get_metadata("demo/x")


@pytest.mark.parametrize("size", [MIB, 20 * MIB])  # whole, and in parts
def test_a_store_that_goes_away_in_mid_upload_leaves_nothing_for_long(
    settings, line, server, bucket, log, request, monkeypatch, size, tmp_path
):
    own = {"endpoint_url": line.url, "timeout": 5, "spool_folder": str(tmp_path / "spool")}
    settings["STORAGE_PARAMS"] |= own
    developer = request.getfixturevalue("as_role")("developer")
    storage = request.getfixturevalue("app").site.storage
    filename, body = wheel_bytes(files={"demo_pkg.bin": os.urandom(size)})
    line.cut_after("up", size // 2)
    answer = upload(developer, filename, body, status=503)
    assert "does not answer" in answer.status
    assert set(counts().values()) == {0}
    ((note, location),) = storage.notes()  # of what could not be taken back, either
    assert location.endswith(filename)
    assert list(storage.spool.iterdir()) == [note]
    assert "Traceback" not in log.read_text()
    line.mend()
    upload(developer, filename, body)
    assert developer.get(f"/packages/demo-pkg/{filename}").body == body
    for module in (s3, mending):
        monkeypatch.setattr(module, "STALE", 0)
    mending.sweep(storage)
    assert list(storage.spool.iterdir()) == []
    assert len(server.keys(bucket)) == 2


def test_sweeping_takes_what_is_old_and_ours(server, bucket, storage, package, monkeypatch):
    ours, theirs = f"demo/{'0' * 64}/{'1' * 32}/x.whl", "backup.tar"
    for key in (ours, theirs):
        server.client.create_multipart_upload(Bucket=bucket, Key=key)
    old, foreign = storage.spool / "old", storage.spool.parent / "extrapypi-1.0.tar.gz"
    old.touch()
    foreign.touch()
    os.utime(foreign, (0, 0))
    fresh = storage.receive()
    storage.sweep()
    assert list(storage.spool.iterdir()) == [fresh.path]
    assert foreign.exists()
    assert server.keys(bucket) == [theirs, ours]
    monkeypatch.setattr(s3, "STALE", 0)
    storage.sweep()
    assert server.keys(bucket) == [theirs]
    fresh.discard()


def test_what_is_on_its_way_and_what_others_noted_is_not_swept_up(client, app, server, package):
    storage, incoming = app.site.storage, stored_file(app.site.storage, package, b"on its way")
    notes = [storage.note(location) for location in (incoming.location, "not/there/yet/at-all")]
    mending.sweep(storage)
    assert storage.has(incoming.location, incoming.size)
    assert {path for path, _ in storage.notes()} == set(notes)
    spool = {"spool_folder": str(storage.spool.parent)}
    assert list(S3Storage(**server.params(server.new_bucket(), **spool)).notes()) == []
    for note in notes:
        note.unlink()


# A server as a process of its own, with real clients


@pytest.fixture(scope="module")
def far_line(server):
    """The line between the index below and its store."""
    with closing(Line(server.port)) as line:
        yield line


@pytest.fixture(scope="module")
def index(tmp_path_factory, server, far_line):
    """A running index whose files are in a bucket; uv gets them from there."""
    params = {"endpoint_url": far_line.url, "public_endpoint_url": server.url}
    index = Index(tmp_path_factory.mktemp("index"), server.settings(server.new_bucket(), **params))
    index.add("a-wheel")
    index.add("an-sdist", maker=sdist_bytes)
    yield index
    status = index.stop()
    log = index.log.read_text()
    assert status == 0
    assert "Traceback" not in log
    for secret in (SECRET_ACCESS_KEY, ACCESS_KEY_ID, "Signature"):
        assert secret not in log


@pytest.fixture
def machine(tmp_path) -> Machine:
    """A user's machine with a fresh home directory."""
    return Machine(tmp_path)


@pytest.mark.parametrize(("tool", "status"), [("uv", 302), ("pip", 200)])
def test_pip_and_uv_install_wheels_and_sdists(index, machine, tool, status):
    with index.requests() as seen:
        machine.install(tool, index.simple_for(), "a-wheel", "an-sdist")
    files = [each.status for each in seen if each.path.endswith((".whl", ".tar.gz"))]
    assert files == [status, status]
    assert machine.installed("a_wheel") == machine.installed("an_sdist") == "1.0"
    with index.requests() as seen:
        machine.install(tool, index.simple_for(), "a-wheel")
    assert [each for each in seen if each.path.endswith(".whl")] == []  # it is in the cache


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_pip_and_uv_find_the_listed_digest(index, machine, tool):
    digest = next(each["digests"]["sha256"] for each in index.about("a-wheel")["urls"])
    required = machine.write("required.txt", f"a-wheel==1.0 --hash=sha256:{digest}\n")
    machine.install(tool, index.simple_for(), "--require-hashes", "-r", required)
    assert machine.installed("a_wheel") == "1.0"


def test_while_the_store_says_nothing_to_one_client_others_are_served(index, far_line):
    digest = index.add("a-slow-one")
    path = "/packages/a-slow-one/a_slow_one-1.0-py3-none-any.whl"
    far_line.waiting.clear()
    far_line.flowing.clear()
    got = []
    thread = threading.Thread(target=lambda: got.append(index.get(path)))
    thread.start()
    assert far_line.waiting.wait(30)
    assert index.get("/ping") == b"pong"
    assert digest.encode() in index.get("/simple/a-slow-one/")
    assert got == []
    far_line.flowing.set()
    thread.join()
    assert hashlib.sha256(got[0]).hexdigest() == digest


def test_a_download_that_the_store_breaks_off_is_cut_and_told_in_the_log(index, far_line):
    digest = index.add("a-lost-one", files={"a_lost_one.bin": os.urandom(8 * MIB)})
    path = "/packages/a-lost-one/a_lost_one-1.0-py3-none-any.whl"
    far_line.cut_after("down", 4 * MIB)
    with pytest.raises(IncompleteRead):
        index.get(path)
    far_line.mend()
    assert hashlib.sha256(index.get(path)).hexdigest() == digest
    assert "bytes too short: The object store does not answer" in index.log.read_text()


def test_clients_that_read_slowly_do_not_hold_the_threads(index):
    filename, _ = wheel_bytes("a-large-one")
    index.add("a-large-one", files={"a_large_one.bin": os.urandom(32 * MIB)})
    host, port = index.url.removeprefix("http://").split(":")
    credentials = base64.b64encode(f"{ADMIN}:{PASSWORDS[ADMIN]}".encode()).decode()
    request = (
        f"GET /packages/a-large-one/{filename} HTTP/1.1\r\n"
        f"Host: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(9):  # one more than there are threads
            connection = stack.enter_context(socket.create_connection((host, int(port)), 30))
            connection.sendall(request.encode())
            assert connection.recv(12) == b"HTTP/1.1 200"

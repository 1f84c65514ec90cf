"""Distributions in an object store that speaks S3.

Every upload has objects of its own, ``<prefix><project>/<sha256>/<random>/<file name>`` and the
same with ``.metadata``: neither two uploads nor an upload and a deletion ever touch the same one.
A location is the key without the prefix. A file is on this machine's disk only while it comes in;
it goes out as a stream, or the client is sent to a presigned URL of the store.
"""

from __future__ import annotations

import logging
import re
import secrets
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from packaging.metadata import RawMetadata, parse_email

from extrapypi.config import without_password
from extrapypi.database import utcnow
from extrapypi.errors import ConfigError, StorageError
from extrapypi.incoming import (
    STALE,
    Incoming,
    arrival_errors,
    new_file,
    storage_errors,
    sweep_folder,
)
from extrapypi.models import Package
from extrapypi.objectstore import Away, Download, ObjectStore
from extrapypi.storage import SIDECAR, BaseStorage

log = logging.getLogger("extrapypi")

INCOMING = "extrapypi-incoming"  # our own folder in that for files on their way
ASIDE = ".aside/"  # begins the keys of what was set aside
LOCATION = re.compile(r"[^/]+/[0-9a-f]{64}/[0-9a-f]{32}/[^/]+")
URL = r"None|'https?://[^\s/?#@]+(/[^\s?#@]*)?'"
RULES = {  # parameter -> pattern of its value as Python writes it, and what that means
    "bucket": (r"'[\w.-]{1,255}'|'arn:[!-~]+'", "the name of a bucket"),
    "prefix": (r"'[\w./+-]*'", "a path such as 'packages/'"),
    "endpoint_url": (URL, "None or a URL such as https://s3.example.org, without credentials"),
    "region_name": (r"None|'[\w-]+'", "None or the name of a region"),
    "addressing_style": ("'(auto|path|virtual)'", "'auto', 'path' or 'virtual'"),
    "signature_version": ("'(s3v4|s3)'", "'s3v4' or 's3'"),
    "redirect": ("'uv'|True|False", "'uv', True or False"),
    "redirect_lifetime": (r"[1-9]\d{0,4}", "a number of seconds, 1 to 99999"),
    "public_endpoint_url": (URL, "None or a URL, without credentials"),
    "timeout": (r"[1-9]\d{0,2}", "a number of seconds, 1 to 999"),
    "spool_folder": (r"None|'/.*'", "None or an absolute path"),
}


class S3Incoming(Incoming):
    """A file in the spool folder; ``sent`` is its location from when sending it has begun."""

    def __init__(self, storage: S3Storage, path: Path, stream: BinaryIO) -> None:
        super().__init__(path, stream)
        self.storage = storage
        self.sent = ""

    def finish(self) -> None:
        """Makes sure that the bytes can be sent; this machine's disk need not keep them."""
        with storage_errors():
            self.stream.flush()

    def discard(self) -> None:
        if self.sent and not self.location:
            self.storage.take_back(self)
            self.sent = ""
        super().discard()


class S3Storage(BaseStorage):
    """A bucket, or what begins with ``prefix`` in it.

    At the start the store is asked once. What it clearly refuses (an unknown bucket, a wrong key)
    stops the start; that it does not answer is only a warning, for it may be back in a moment.

    :param endpoint_url: of the store; None for AWS.
    :param region_name: None for the one that boto3 finds. At AWS it has to be the bucket's, or
        presigned URLs are wrong.
    :param access_key_id: with ``secret_access_key``. Without them boto3 looks in the environment,
        in ``~/.aws`` and for the machine's role.
    :param addressing_style: where the bucket stands, in the ``path`` or the host (``virtual``).
    :param redirect: who gets files from presigned URLs: ``"uv"``, everybody (True) or nobody
        (False). pip's cache knows a file by its last URL, so it would never find one again.
    :param redirect_lifetime: seconds in which a presigned URL has to be used.
    :param public_endpoint_url: the store's URL for clients, where that is another one.
    :param timeout: seconds without an answer after which a request fails; it is tried 3 times.
    :param spool_folder: where files come in; None for the system's temporary folder.
    :raises ConfigError: for a parameter that makes no sense.
    """

    NAME = "S3Storage"
    REUSES = False

    bucket: str
    endpoint_url: str | None
    redirect: str | bool
    redirect_lifetime: int
    public_endpoint_url: str | None
    spool_folder: str | None

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        endpoint_url: str | None = None,
        region_name: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        addressing_style: str = "auto",
        signature_version: str = "s3v4",
        redirect: str | bool = "uv",
        redirect_lifetime: int = 600,
        public_endpoint_url: str | None = None,
        timeout: int = 15,
        spool_folder: str | None = None,
    ) -> None:
        super().__init__(  # without the keys, which nothing is to print
            bucket=bucket,
            prefix=prefix,
            endpoint_url=endpoint_url,
            region_name=region_name,
            addressing_style=addressing_style,
            signature_version=signature_version,
            redirect=redirect,
            redirect_lifetime=redirect_lifetime,
            public_endpoint_url=public_endpoint_url,
            timeout=timeout,
            spool_folder=spool_folder,
        )
        check_params(vars(self), access_key_id, secret_access_key)
        folder = prefix.strip("/")
        self.store = ObjectStore(
            bucket,
            folder and f"{folder}/",
            endpoint_url,
            timeout,
            addressing_style,
            signature_version,
            {
                "region_name": region_name,
                "aws_access_key_id": access_key_id,
                "aws_secret_access_key": secret_access_key,
            },
        )
        with storage_errors():
            self.spool.mkdir(parents=True, exist_ok=True)
        try:
            self.ping()
        except Away as error:
            log.warning("%s", error)
        if public_endpoint_url:  # one that is no good is found now, not at the first download
            self.store.url("any", redirect_lifetime, public_endpoint_url)

    @property
    def spool(self) -> Path:
        return Path(self.spool_folder or tempfile.gettempdir()) / INCOMING

    def receive(self) -> Incoming:
        with arrival_errors():
            return S3Incoming(self, *new_file(self.spool, 0o600))  # perhaps in a folder of all

    def prepare(self, package: Package, incoming: S3Incoming) -> None:
        if incoming.sent:
            return
        place = (package.normalized_name, incoming.digests["sha256"], secrets.token_hex(16))
        incoming.sent = "/".join((*place, incoming.filename))
        incoming.note = self.note(incoming.sent)
        self.store.send(incoming.path, incoming.sent)
        if incoming.metadata is not None:
            self.store.put(incoming.metadata, incoming.sent + SIDECAR)

    def take_back(self, incoming: S3Incoming) -> None:
        """Deletes what was sent for nothing; where it stays, a note does, too."""
        try:
            self.store.delete(incoming.sent, incoming.sent + SIDECAR, hasty=True)
        except StorageError as error:
            incoming.leave_note()
            log.warning("%s is left in the object store: %s", incoming.sent, error)

    def create_release(self, package: Package, incoming: S3Incoming) -> str:
        incoming.location = incoming.sent
        return incoming.location

    def delete_file(self, location: str) -> None:
        self.store.delete(location, location + SIDECAR)

    def get_files(self, package: Package) -> list[str]:
        stored = self.store.sizes(f"{package.normalized_name}/")
        names = {key.rpartition("/")[2] for key, _ in stored if not key.endswith(SIDECAR)}
        return sorted(names)

    def get_file(self, location: str, start: int = 0, stop: int | None = None) -> Download:
        return self.store.open(location, start, stop)

    def get_url(self, location: str, agent: str) -> str | None:
        if not self.redirect or (self.redirect == "uv" and not agent.startswith("uv/")):
            return None
        return self.store.url(location, self.redirect_lifetime, self.public_endpoint_url)

    def has(self, location: str, size: int) -> bool:
        about = self.store.about(location)
        return about is not None and about[0] == size

    def has_metadata(self, location: str) -> bool:
        return self.store.about(location + SIDECAR) is not None

    def get_metadata(self, location: str) -> bytes:
        return self.store.read(location + SIDECAR)

    def get_releases_metadata(self) -> Iterator[tuple[str, RawMetadata]]:
        for location, _ in self.stored():
            if location.endswith(SIDECAR):
                yield location.partition("/")[0], parse_email(self.store.read(location))[0]

    def stored(self) -> Iterator[tuple[str, int]]:
        # Others may keep what is theirs in the same bucket.
        return (each for each in self.store.sizes() if LOCATION.fullmatch(each[0]))

    def on_its_way(self, location: str) -> bool:
        about = self.store.about(location)
        return about is None or about[1] > stale()

    @property
    def noted_as(self) -> str:
        return f"{self.endpoint_url or 's3:/'}/{self.bucket}/{self.store.prefix}"

    def set_aside(self, location: str) -> str:
        target = f"{ASIDE}{utcnow():%Y-%m-%d}/{secrets.token_hex(8)}/{location}"
        self.store.move(location, target)
        return target

    def sweep(self) -> None:
        """Removes what uploads left that never came to an end, here and, if it answers, there."""
        sweep_folder(self.spool)
        try:
            for key, upload_id, begun in self.store.unfinished():
                if begun < stale() and LOCATION.fullmatch(key):
                    self.store.abort(key, upload_id)
        except StorageError as error:
            log.warning("Uploads that broke off stay in the object store: %s", error)

    def ping(self) -> None:
        self.store.check()


def stale() -> datetime:
    """What is older than this will not come to its end any more."""
    return utcnow() - timedelta(seconds=STALE)


def check_params(
    params: dict[str, object], access_key_id: object, secret_access_key: object
) -> None:
    """Refuses parameters that make no sense.

    :raises ConfigError: naming the parameter, its value unless it is a key, and the rule.
    """
    for name, (pattern, rule) in RULES.items():
        if not re.fullmatch(pattern, repr(params[name]), re.ASCII):
            shown = without_password(repr(params[name]))
            raise ConfigError(f"STORAGE_PARAMS: {name} is {shown}; it must be {rule}.")
    keys = (access_key_id, secret_access_key)
    if keys != (None, None) and not all(isinstance(key, str) and key for key in keys):
        raise ConfigError(
            "STORAGE_PARAMS: access_key_id and secret_access_key are two texts, or both left out."
        )

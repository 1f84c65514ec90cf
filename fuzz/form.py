"""Feeds the readers of upload forms; run as ``python fuzz/form.py CORPUS``.

An input is a byte for the length of the pieces that the form comes in, a line with what stands
behind ``multipart/form-data`` in its Content-Type, and the form.
"""

from __future__ import annotations

import io
import sys
import tempfile

import atheris
import checkout  # noqa: F401

with atheris.instrument_imports(include=["extrapypi", "multipart"]):
    from extrapypi.errors import ExtraPyPIError
    from extrapypi.forms import FilesReader
    from extrapypi.intake import EarlyForm
    from extrapypi.storage import LocalStorage

MAX_SIZE = 1000  # bytes of a file

folder = tempfile.TemporaryDirectory(dir="/dev/shm")
storage = LocalStorage(folder.name)


def feed(data: bytes) -> None:
    """One input; everything but a refusal is a finding."""
    head, _, body = data[1:].partition(b"\n")
    size = 1 + data[0] if data else 1
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    form = {"content_type": "multipart/form-data" + head.decode("latin-1"), "content_length": -1}
    whole, early = outcome([body], form), outcome(pieces, form)
    assert None in (whole, early) or whole == early
    browse(body, form)
    assert not list(storage.incoming.iterdir())


def outcome(pieces: list[bytes], form: dict) -> tuple | None:
    """Fields and file of the form that comes in these pieces, or None when it is refused."""
    early = EarlyForm(set(), storage, MAX_SIZE, **form)
    try:
        for piece in filter(None, pieces):
            early.append(piece)
        reader = early.result()
        for _ in reader.parts(io.BytesIO()):
            pass
        file = reader.incoming and (reader.incoming.filename, reader.incoming.content().read())
        return reader.fields, file
    except ExtraPyPIError as refusal:
        check(refusal)
        return None
    finally:
        early.close()


def browse(body: bytes, form: dict) -> None:
    """The same form, as one of a browser."""
    reader = None
    try:
        reader = FilesReader(storage, MAX_SIZE, lambda token: None, **form)
        for _ in reader.parts(io.BytesIO(body)):
            if reader.incoming is not None:
                reader.finished()
            reader.drop()
    except ExtraPyPIError as refusal:
        check(refusal)
    finally:
        if reader is not None:
            reader.drop()


def check(refusal: ExtraPyPIError) -> None:
    """A refusal is a sentence, and blames the client."""
    assert 400 <= refusal.status < 500
    assert str(refusal).endswith("."), refusal


if __name__ == "__main__":
    atheris.Setup(sys.argv, feed)
    atheris.Fuzz()

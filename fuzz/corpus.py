"""Writes what the fuzzers begin with: ``python fuzz/corpus.py FOLDER`` makes two folders there."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import checkout  # noqa: F401
from archives_made import metadata_text, sdist_bytes, wheel_bytes
from test_archives import large_format, pax, special, streamed, tar

WHEEL, ZIP, TAR_GZ, TAR, METADATA, FILENAME = (bytes([kind]) for kind in range(6))
TOP = "demo_pkg-1.0/"
FIELDS = """Summary: a
Keywords: a,b
License-Expression: MIT OR (Apache-2.0)
License: a
       |b
Classifier: Private :: a
Requires-Python: >=3.9,!=3.10.*
Requires-Dist: a[b] (>=1.0); python_version < "3.12" and (extra == 'c' or os_name != "nt")
Requires-Dist: b @ https://example.org/b.whl ; sys_platform in 'linux'
Project-URL: Home, https://example.org/
Provides-Extra: c
Import-Name: a; private
Dynamic: License-File
Description-Content-Type: text/markdown; variant=GFM
"""
TAR_SEEDS = {
    "pax": gzip.decompress(sdist_bytes()[1]),
    "gnu": gzip.decompress(tar((f"{TOP}{'d/' * 99}x", b""))),
    "link": gzip.decompress(tar(special(b"2", f"{TOP}d/x", "../setup.py"))),
    "comment": gzip.decompress(pax(b"14 comment=ab\n", b"g")),
    "path": gzip.decompress(pax(b"23 path=demo_pkg-1.0/x\n")),
}
DISTRIBUTIONS = {
    "wheel": WHEEL + wheel_bytes()[1],
    "streamed": WHEEL + streamed(),
    "zip64": WHEEL + large_format(),
    "zip": ZIP + sdist_bytes(extension=".zip")[1],
    "tar.gz": TAR_GZ + sdist_bytes()[1],
    **{f"tar-{name}": TAR + data for name, data in TAR_SEEDS.items()},
    "metadata": METADATA + metadata_text(metadata_version="2.5", metadata_extra=FIELDS).encode(),
    "described": METADATA + metadata_text(description="Größe\r\n").encode(),
    "filename": FILENAME + b"demo_pkg-1!1.0rc1+a.b-1-py2.py3-none-any.whl",
    "sdist": FILENAME + b"demo-pkg-1.0.post1.tar.gz",
}
PART = b"--b\r\nContent-Disposition: form-data; "
FORMS = {
    "twine": b"\x07; boundary=b\n"
    + b"".join((PART, b'name=":action"\r\n\r\nfile_upload\r\n'))
    + b"".join((PART, b'name="content"; filename="a-1.0.tar.gz"\r\n'))
    + b"Content-Type: application/octet-stream\r\n\r\n\x1f\x8b\r\n--\r\n--b--\r\n",
    "browser": b'\xff; boundary="b"\n'
    + b"".join((PART, b'name="form_token"\r\n\r\nx\r\n'))
    + b"".join((PART, b'name="files"; filename="a%22%0D.whl"\r\nContent-Length: 1\r\n\r\nx\r\n'))
    + b"".join((PART, b'name="files"; filename=""\r\n\r\n\r\n--b--\r\nmore')),
}


def write(folder: Path, seeds: dict[str, bytes]) -> None:
    """A file for each seed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1], "distribution"), DISTRIBUTIONS)
    write(Path(sys.argv[1], "form"), FORMS)

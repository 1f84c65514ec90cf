"""Genuine small wheels and sdists, the same bytes each time; pip installs them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping

WHEEL = "Wheel-Version: 1.0\nGenerator: extrapypi tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PYPROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = '''"""A build backend that needs nothing, so pip installs the sdist without an index."""
import pathlib, zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{stem}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory, name), "w") as wheel:
        wheel.writestr("{module}", pathlib.Path("{module}").read_text())
        wheel.writestr("{stem}.dist-info/METADATA", pathlib.Path("PKG-INFO").read_text())
        wheel.writestr("{stem}.dist-info/WHEEL", {wheel!r})
        wheel.writestr("{stem}.dist-info/RECORD", "")
    return name
'''
DATE = (2024, 1, 2, 3, 4, 6)


def metadata_text(
    name: str = "demo-pkg",
    version: str = "1.0",
    *,
    metadata_version: str = "2.1",
    requires_dist: Iterable[str] = (),
    requires_python: str = "",
    metadata_extra: str = "",
    description: str = "",
) -> str:
    """The text of METADATA or PKG-INFO; ``metadata_extra`` is whole lines."""
    lines = [f"Metadata-Version: {metadata_version}", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Requires-Dist: {requirement}" for requirement in requires_dist]
    extra = f"{metadata_extra.rstrip()}\n" if metadata_extra else ""
    return "\n".join(lines) + "\n" + extra + (f"\n{description}" if description else "")


def wheel_bytes(
    name: str = "demo-pkg",
    version: str = "1.0",
    *,
    files: Mapping[str, str | bytes] | None = None,
    filename: str | None = None,
    tag: str = "py3-none-any",
    **metadata,
) -> tuple[str, bytes]:
    """File name and content of a wheel with one module, or with ``files``.

    A file of ``files`` can replace METADATA, WHEEL or RECORD too; ``metadata`` is that of
    :func:`metadata_text`.
    """
    stem = f"{name.replace('-', '_').replace('.', '_').lower()}-{version.replace('-', '_')}"
    info = f"{stem}.dist-info"
    module = f"{stem.partition('-')[0]}.py"
    members: dict[str, str | bytes] = dict(files or {module: f"VERSION = {version!r}\n"})
    members.setdefault(f"{info}/METADATA", metadata_text(name, version, **metadata))
    members.setdefault(f"{info}/WHEEL", WHEEL.replace("py3-none-any", tag))
    members.setdefault(f"{info}/RECORD", record(members, info))
    return filename or f"{stem}-{tag}.whl", zip_bytes(members)


def sdist_bytes(
    name: str = "demo-pkg",
    version: str = "1.0",
    *,
    files: Mapping[str, str | bytes] | None = None,
    filename: str | None = None,
    extension: str = ".tar.gz",
    **metadata,
) -> tuple[str, bytes]:
    """File name and content of an sdist, ``files`` (paths below its top directory) added."""
    stem = f"{name.replace('-', '_').replace('.', '_').lower()}-{version}"
    filename = filename or stem + extension
    module = f"{stem.partition('-')[0]}.py"
    members = {
        f"{stem}/PKG-INFO": metadata_text(name, version, **metadata),
        f"{stem}/pyproject.toml": PYPROJECT,
        f"{stem}/backend.py": BACKEND.format(stem=stem, module=module, wheel=WHEEL),
        f"{stem}/{module}": f"VERSION = {version!r}\n",
        **{f"{stem}/{path}": content for path, content in (files or {}).items()},
    }
    return filename, zip_bytes(members) if filename.endswith(".zip") else tar_bytes(members)


def record(members: Mapping[str, str | bytes], info: str) -> str:
    """The text of RECORD: path, digest and size of each member."""
    lines = []
    for path, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(encoded(content)).digest())
        lines.append(f"{path},sha256={digest.decode().rstrip('=')},{len(encoded(content))}\n")
    return "".join(lines) + f"{info}/RECORD,,\n"


def zip_bytes(members: Mapping[str, str | bytes]) -> bytes:
    """A deflated zip archive of these members."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for path, content in members.items():
            entry = zipfile.ZipInfo(path, DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, encoded(content), zipfile.ZIP_DEFLATED)
    return made.getvalue()


def tar_bytes(members: Mapping[str, str | bytes]) -> bytes:
    """A gzipped tar archive of these members."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in members.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(encoded(content)), 1704164646
            archive.addfile(entry, io.BytesIO(encoded(content)))
    return gzip.compress(made.getvalue(), mtime=0)


def encoded(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content

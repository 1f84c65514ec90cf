"""One wheel or sdist: what its name says, what is in it, and whether the two agree.

Spelling is forgiving: a file name that can be read as the project and version of the metadata is
right, however the build tool wrote it. Rules: the binary distribution format, PEP 625, PEP 440,
and the upload form of pypi.org (warehouse, docs/user/api/upload.md).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from extrapypi.archives import DIST_INFO, sdist_pkg_info, wheel_parts
from extrapypi.core_metadata import NAME, CoreMetadata, accepted, parse, present, shown
from extrapypi.errors import InvalidUpload

MAX_FILENAME = 240  # characters; a suffix for a file beside it still fits into 255
FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*\Z", re.ASCII)
WHEEL, SDIST = "bdist_wheel", "sdist"
EXTENSIONS = {".whl": WHEEL, ".tar.gz": SDIST, ".zip": SDIST}
DIGEST_FIELDS = {  # form field -> key of the digests that were computed
    "sha256_digest": "sha256",
    "blake2_256_digest": "blake2b_256",
    "md5_digest": "md5",
}

Readings = tuple[tuple[str, Version], ...]  # (normalized name, version)


@dataclass(frozen=True)
class ParsedFilename:
    """What a file name says; a dash in it can leave several readings of an sdist."""

    filename: str
    packagetype: str  # "sdist" or "bdist_wheel"
    python_version: str  # the Python tag of a wheel as written, "source" of an sdist
    readings: Readings  # the likeliest first, never empty


@dataclass(frozen=True)
class Distribution:
    """A sound wheel or sdist, with the metadata that lies in it."""

    filename: str
    packagetype: str  # "sdist" or "bdist_wheel"
    python_version: str  # the Python tag of a wheel as written, "source" of an sdist
    metadata: CoreMetadata
    metadata_bytes: bytes  # as they lie in the file

    @cached_property
    def normalized_name(self) -> str:
        """The project's name as URLs have it (PEP 503)."""
        return canonicalize_name(self.metadata.name)

    @cached_property
    def canonical_version(self) -> str:
        """The version without trailing zeros: equal for versions that PEP 440 calls equal."""
        return canonicalize_version(self.metadata.version)


def read(stream: BinaryIO, filename: str) -> Distribution:
    """The distribution in a seekable binary stream, checked against its file name.

    :raises InvalidUpload: with every fault that was found; OSError is the disk's.
    """
    parsed = parse_filename(filename)
    faults: list[str] = []
    if parsed.packagetype == WHEEL:
        parts = wheel_parts(stream)
        raw, metadata = parts.metadata, parse(parts.metadata)
        directory = parts.dist_info.removesuffix(DIST_INFO)
        faults += disagreement(
            f"The directory {shown(parts.dist_info)}", splits(directory), metadata
        )
    else:
        _, raw = sdist_pkg_info(stream, filename)
        metadata = parse(raw)
    faults[:0] = disagreement(f"The file name {shown(filename)}", parsed.readings, metadata)
    if faults:
        raise InvalidUpload(*faults)
    return Distribution(filename, parsed.packagetype, parsed.python_version, metadata, raw)


def parse_filename(filename: str) -> ParsedFilename:
    """What the file name says, without a look into the file.

    :raises InvalidUpload: if the index takes no file of this name.
    """
    if not FILENAME.match(filename) or len(filename) > MAX_FILENAME:
        raise InvalidUpload(
            f"The file name {shown(filename)} must start with an ASCII letter or digit, go on with "
            f"these and '._+!-', and have {MAX_FILENAME} characters at most."
        )
    extension = next((end for end in EXTENSIONS if filename.endswith(end)), "")
    if not extension:
        raise InvalidUpload(
            f"extrapypi takes wheels and sdists only (.whl, .tar.gz, .zip), not {shown(filename)}."
        )
    if EXTENSIONS[extension] == WHEEL:
        return parsed_wheel_filename(filename)
    readings = splits(filename.removesuffix(extension))
    if not readings:
        raise InvalidUpload(
            f"The file name {shown(filename)} has no project name and version as in PEP 440, "
            "such as demo-1.0.tar.gz."
        )
    return ParsedFilename(filename, SDIST, "source", readings)


def parsed_wheel_filename(filename: str) -> ParsedFilename:
    """What a wheel's name says; the version may have the "_" that setuptools wrote for "+"."""
    parts = filename.removesuffix(".whl").split("-")
    readings = readings_of(parts[0], parts[1]) if len(parts) > 1 else ()
    if readings and (len(parts) == 7 or (len(parts) == 6 and not parts[2][:1].isdigit())):
        raise InvalidUpload(
            f"The file name {shown(filename)} is that of a variant wheel (PEP 825), which "
            "extrapypi does not take yet; upload a wheel without the variant label."
        )
    usual = [parts[0], str(readings[0][1]) if readings else "", *parts[2:]]
    try:
        parse_wheel_filename("-".join(usual) + ".whl")
    except InvalidWheelFilename as error:
        raise InvalidUpload(
            f"The file name {shown(filename)} is none of a wheel; it must be "
            "NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl, such as demo-1.0-py3-none-any.whl."
        ) from error
    return ParsedFilename(filename, WHEEL, parts[-3], readings)


def splits(stem: str) -> Readings:
    """Every reading of NAME-VERSION, the one with the shortest version first."""
    pieces = stem.split("-")
    cuts = (("-".join(pieces[:at]), "-".join(pieces[at:])) for at in range(len(pieces) - 1, 0, -1))
    return tuple(reading for name, version in cuts for reading in readings_of(name, version))


def readings_of(name: str, version: str) -> Readings:
    """The name with the version as written and with the first "_" as "+", where they are valid."""
    found = []
    for spelling in dict.fromkeys((version, version.replace("_", "+", 1))):
        try:
            found.append((canonicalize_name(name), Version(spelling)))
        except InvalidVersion:
            continue
    return tuple(found) if NAME.match(name) else ()


def disagreement(what: str, readings: Readings, metadata: CoreMetadata) -> list[str]:
    """The fault if no reading is the project and version of the metadata."""
    if (canonicalize_name(metadata.name), Version(metadata.version)) in readings:
        return []
    told = f"{shown(metadata.name)} {shown(metadata.version)}"
    return [f"{what} is not that of {told}, which the metadata in the file names."]


def check_form(
    distribution: Distribution, fields: dict[str, list[str]], digests: dict[str, str]
) -> list[str]:
    """What an upload form says against the file, one sentence a fault, [] if nothing.

    ``digests`` are of the file: md5, sha256 and blake2b_256, lower-case hex.
    """
    form = {field: next(filter(present, texts), "").strip() for field, texts in fields.items()}
    faults = [*required_faults(form), *agreement_faults(distribution, form)]
    if form.get("protocol_version", "") not in ("", "1"):
        version = shown(form["protocol_version"])
        faults.append(f"Unknown protocol version: field protocol_version is {version}, not '1'.")
    return [*faults, *digest_faults(form, digests)]


def required_faults(form: dict[str, str]) -> Iterator[str]:
    """The fields that each upload form must have."""
    for field in ("metadata_version", "name", "version", "filetype"):
        if not form.get(field):
            yield f"Form field {field} is missing; an upload needs it."
    if not any(form.get(field) for field in DIGEST_FIELDS):
        yield f"Form fields {', '.join(DIGEST_FIELDS)} are missing; an upload needs one of them."


def agreement_faults(distribution: Distribution, form: dict[str, str]) -> Iterator[str]:
    """The fields that say something else than the file."""
    metadata = distribution.metadata
    name, version, filetype = (form.get(field, "") for field in ("name", "version", "filetype"))
    same_name = NAME.match(name) and canonicalize_name(name) == distribution.normalized_name
    same_version = (
        accepted("version", version)
        and canonicalize_version(version) == distribution.canonical_version
    )
    for field, sent, same in (("name", name, same_name), ("version", version, same_version)):
        if sent and not same:
            right = shown(getattr(metadata, field))
            yield f"Form field {field} is {shown(sent)}; it must be {right}, as in the file."
    if filetype and filetype != distribution.packagetype:
        yield (
            f"Form field filetype is {shown(filetype)}; extrapypi takes 'sdist' and "
            f"'bdist_wheel', and {shown(distribution.filename)} is {distribution.packagetype!r}."
        )


def digest_faults(form: dict[str, str], digests: dict[str, str]) -> Iterator[str]:
    """The digests that are not those of the file."""
    for field, key in DIGEST_FIELDS.items():
        sent, right = form.get(field, ""), digests[key]
        short = base64.urlsafe_b64encode(bytes.fromhex(right)).decode().rstrip("=")
        if sent and sent.lower() != right and (key != "md5" or sent.rstrip("=") != short):
            yield f"Form field {field} is {shown(sent)}; the file that arrived has {right}."

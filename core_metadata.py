"""What a distribution says about itself: METADATA or PKG-INFO, read and checked.

Sources of the rules: the core metadata specification (packaging.python.org, 1.0 to 2.6) and what
pypi.org refuses on top of it, short of what a private index needs (direct references, private
classifiers, a newer 2.x).
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packaging.metadata import Metadata, RawMetadata, parse_email

from extrapypi.errors import InvalidUpload
from extrapypi.models import NAME

logger = logging.getLogger("extrapypi")

MAX_HEADER = 2**20  # bytes before the description; some seconds of parsing at worst
MAX_FIELDS = 10_000  # in the header of one file
MAX_FIELD_NAMES = 200  # different ones: the email package takes fields x names steps
MAX_VALUE = 4_096  # characters of a value that is parsed (requirement, specifiers, licence)
MAX_BRACKETS = 100  # in such a value: readers and writers go into each, in so many calls
MAX_SUMMARY = 512  # characters, as on pypi.org
MAX_CONTENT_TYPE = 255  # characters
MAX_LABEL = 32  # characters of a project URL's label, as on pypi.org
# Characters, so that the tables hold them, a version also in its canonical form.
LONGEST = {"name": 200, "version": 120, "requires_python": 255}
MAX_FAULTS = 20  # told in one answer
MAX_SHOWN = 100  # characters of a value in a fault

# 2.0 was withdrawn, but for years it is what wheels had.
VERSIONS = ("1.0", "1.1", "1.2", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6")
FUTURE_VERSION = re.compile(r"2\.(?:[7-9]|[1-9][0-9]{1,2})", re.ASCII)
LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
HEADER_LINE = re.compile(rb"[\t ]|([!-9;-~]*):")  # a continuation or "Name:", as email reads it
MIME_FIELD = re.compile(r"(?im)^(?=content-(?:type|transfer-encoding):)")

USED_ONCE = ("metadata_version", "name", "version", "requires_python")
ONE_LINE = (
    *("author", "author_email", "maintainer", "maintainer_email", "home_page", "download_url"),
    *("description_content_type", "license_expression", *USED_ONCE),
)
LISTS = (
    *("classifiers", "requires_dist", "provides_extra", "platforms", "dynamic"),
    "license_files",
)
RULES = {  # field -> what its value has to be
    "version": "a version as in PEP 440, such as 1.0 or 2.1rc1",
    "requires_python": "version specifiers as in PEP 440, such as >=3.9",
    "requires_dist": "a requirement as in PEP 508, such as demo>=1.0; python_version<'3.12'",
    "provides_extra": "ASCII letters, digits, '.', '_' and '-', the first and last no mark",
    "license_expression": "an SPDX expression, such as MIT or Apache-2.0 OR LicenseRef-House",
    "import_names": "an importable name, with '; private' after it at most",
    "import_namespaces": "an importable name, with '; private' after it at most",
}


@dataclass(frozen=True)
class CoreMetadata:
    """The fields that pages and the JSON API show; an absent one is "" or an empty list."""

    metadata_version: str
    name: str  # as given, not normalized
    version: str  # as given, valid by PEP 440
    summary: str
    description: str
    description_content_type: str
    author: str
    author_email: str
    maintainer: str
    maintainer_email: str
    license: str
    license_expression: str  # in the spelling of the SPDX list
    license_files: list[str]
    keywords: str  # joined by commas
    classifiers: list[str]
    requires_python: str
    requires_dist: list[str]  # each valid by PEP 508
    provides_extra: list[str]
    project_urls: dict[str, str]  # label -> URL of any scheme
    home_page: str
    download_url: str
    platforms: list[str]
    dynamic: list[str]


def parse(raw: bytes) -> CoreMetadata:
    """The metadata in the bytes of a METADATA or PKG-INFO file.

    :raises InvalidUpload: with every fault that was found, however odd the bytes are.
    """
    header, body = split_message(raw)
    fields = Fields(*parse_email(header))
    values = fields.values()
    values["description"] = body if present(body) else unfolded(fields.first("description"))
    faults = [*identity_faults(fields), *nul_faults(values), *value_faults(values)]
    faults += [*url_faults(values["project_urls"]), *import_faults(fields)]
    if len(faults) > MAX_FAULTS:
        faults[MAX_FAULTS:] = [f"{len(faults) - MAX_FAULTS} more faults of the metadata follow."]
    if faults:
        raise InvalidUpload(*faults)
    return CoreMetadata(**values)


def split_message(raw: bytes) -> tuple[str, str]:
    """Header and body; the email package is given no body, so it meets no MIME parts in it."""
    names: set[bytes] = set()
    fields = end = start = 0
    for line in LINE.finditer(raw):
        match = HEADER_LINE.match(line[1])
        end, start = line.span()
        if not match:
            break
        if match[1] is not None:
            fields += 1
            names.add(match[1].lower())
        if start > MAX_HEADER or fields > MAX_FIELDS or len(names) > MAX_FIELD_NAMES:
            raise InvalidUpload(
                f"The metadata has too many fields: {MAX_HEADER} bytes of them, {MAX_FIELDS} in "
                f"number and {MAX_FIELD_NAMES} different names are the most."
            )
    else:
        end = start
    if raw[end : end + 1].strip(b"\r\n"):
        start = end  # a line that is no header field belongs to the description
    header = re.sub(r"\r\n?", "\n", raw[:end].decode("utf-8", "replace"))
    return MIME_FIELD.sub("X-", header), raw[start:].decode("utf-8", "replace")


class Fields:
    """The header fields, whichever side of ``parse_email`` they came out of."""

    def __init__(self, raw: RawMetadata, unparsed: dict[str, list[str]]) -> None:
        self.raw = raw
        self.unparsed = unparsed

    def all(self, field: str) -> list[str]:
        """The values of a field as written, without empty ones and UNKNOWN."""
        value: Any = self.raw.get(field, self.unparsed.get(field.replace("_", "-"), []))
        return [text for text in ([value] if isinstance(value, str) else value) if present(text)]

    def first(self, field: str) -> str:
        """The first value of a field as written, or ""."""
        return next(iter(self.all(field)), "")

    def urls(self) -> dict[str, str]:
        """The project URLs by label; of two with one label the first counts."""
        urls = dict(self.raw.get("project_urls", {}))
        for pair in self.unparsed.get("project-url", []):
            label, _, url = (part.strip() for part in pair.partition(","))
            urls.setdefault(label, url)
        return {label: url for label, url in urls.items() if present(label) or url}

    def values(self) -> dict:
        """All fields of :class:`CoreMetadata` but the description."""
        values: dict = {field: one_line(self.first(field)) for field in ONE_LINE}
        values |= {field: [one_line(text) for text in self.all(field)] for field in LISTS}
        values["summary"] = self.first("summary").strip()
        values["keywords"] = ",".join(self.all("keywords"))
        values["license"] = unfolded(self.first("license"))
        values["project_urls"] = self.urls()
        number = numbers(values["metadata_version"])
        if number < (2, 4):
            values["license_files"] = []  # setuptools wrote them under 2.1, by other rules
        values["license_expression"] = licence(values["license_expression"], number)
        kind = values["description_content_type"]
        if len(kind) > MAX_CONTENT_TYPE or re.search(r"[\x00-\x1f\x7f]", kind):
            values["description_content_type"] = ""
        return values


def identity_faults(fields: Fields) -> Iterator[str]:
    """What is wrong with the three fields that must be there, first things first."""
    for field in USED_ONCE:
        written = fields.all(field)
        if len(written) > 1:
            yield f"Metadata field {titled(field)} is there {len(written)} times; once is allowed."
        elif not written and field != "requires_python":
            yield f"Metadata field {titled(field)} is missing."
        elif field == "metadata_version":
            yield from version_number_faults(written[0].strip())
        elif field == "name" and not NAME.match(written[0]):
            yield refused(field, written[0], RULES["provides_extra"])
        elif field == "version" and not accepted(field, written[0]):
            yield refused(field, written[0], RULES[field])


def version_number_faults(version: str) -> Iterator[str]:
    """What is wrong with the metadata version; an unknown 2.x is only logged."""
    if FUTURE_VERSION.fullmatch(version):
        logger.warning("Metadata version %s is newer than 2.6; read as 2.6.", version)
    elif version not in VERSIONS:
        yield refused("metadata_version", version, f"one of {', '.join(VERSIONS)}")


def nul_faults(values: dict) -> Iterator[str]:
    """The fields with a NUL character: databases and pages cannot hold one."""
    for field, value in values.items():
        texts = [*value, *value.values()] if isinstance(value, dict) else value
        if any("\0" in text for text in ([texts] if isinstance(texts, str) else texts)):
            yield f"Metadata field {titled(field)} has a NUL character; none is allowed."


def value_faults(values: dict) -> Iterator[str]:
    """What is wrong with the fields that have a syntax."""
    for field, most in LONGEST.items():
        if len(values[field]) > most:
            yield refused(field, values[field], f"{most} characters at most")
    for field in ("requires_python", "license_expression"):
        if values[field] and not accepted(field, values[field]):
            yield refused(field, values[field], RULES[field])
    for field in ("requires_dist", "provides_extra"):
        for text in values[field]:
            if not accepted(field, [text]):
                yield refused(field, text, RULES[field])
    summary = values["summary"]
    if len(summary.splitlines()) > 1 or len(summary) > MAX_SUMMARY:
        yield refused("summary", summary, f"one line of at most {MAX_SUMMARY} characters")
    for name in values["dynamic"]:
        if name.lower() in ("name", "version", "metadata-version"):
            yield refused("dynamic", name, "a field other than name and version")


def url_faults(urls: dict[str, str]) -> Iterator[str]:
    """What is wrong with the project URLs."""
    for label, url in urls.items():
        if not label or not url or len(label) > MAX_LABEL:
            rule = f"a label of 1 to {MAX_LABEL} characters, a comma and a URL"
            yield refused("project_url", f"{label}, {url}", rule)


def import_faults(fields: Fields) -> Iterator[str]:
    """What is wrong with the import names of PEP 794, which metadata 2.5 brought."""
    if numbers(fields.first("metadata_version").strip()) < (2, 5):
        return
    names = {}
    for field in ("import_names", "import_namespaces"):
        names[field] = {text.partition(";")[0].strip() for text in fields.all(field)}
        for text in fields.all(field):
            if not accepted(field, [text]):
                yield refused(field, text, RULES[field])
    for name in sorted(names["import_names"] & names["import_namespaces"]):
        yield refused("import_names", name, "a name that no Import-Namespace has too")


def accepted(field: str, value: str | list[str]) -> bool:
    """True if ``packaging`` takes this value for the field, and can write what it has read.

    In a marker's text there may be escapes, which stand for what neither it nor a table can hold.
    """
    text = value if isinstance(value, str) else value[0]
    if len(text) > MAX_VALUE or text.count("(") > MAX_BRACKETS:
        return False
    try:
        read = getattr(Metadata.from_raw({field: value}, validate=False), field)  # type: ignore[misc]
        written = "".join(map(str, read)) if isinstance(read, list) else str(read)
        written.encode()
    except ValueError:  # InvalidMetadata is one
        return False
    return "\0" not in written


def licence(expression: str, number: tuple[int, ...]) -> str:
    """The expression in SPDX spelling; before 2.4 an invalid one is no fault but absent."""
    if expression and accepted("license_expression", expression):
        raw: RawMetadata = {"license_expression": expression}
        return str(Metadata.from_raw(raw, validate=False).license_expression)
    return expression if number >= (2, 4) else ""


def present(value: str) -> bool:
    """True if this says something; old setuptools wrote UNKNOWN for nothing."""
    return value.strip() not in ("", "UNKNOWN")


def one_line(value: str) -> str:
    """The value without the line breaks of a folded header."""
    return " ".join(line.strip() for line in value.split("\n")).strip()


def unfolded(value: str) -> str:
    """A text of several lines as it was before it was folded into a header.

    Further lines start with seven spaces and a bar (PEP 345), or with eight spaces (distutils).
    """
    first, newline, rest = value.partition("\n")
    if re.match(r"[ \t]*\|", rest):
        return first + newline + re.sub(r"(?m)^[ \t]{0,8}\|", "", rest)
    if not re.search(r"(?m)^(?! {8}|[^\S\n]*$)", rest):  # \s* would look at all lines each time
        return first + newline + re.sub(r"(?m)^(?: {8}|[ \t]+$)", "", rest)
    return first + newline + textwrap.dedent(rest)


def numbers(version: str) -> tuple[int, ...]:
    """(2, 4) of "2.4"; () of what is no metadata version."""
    valid = version in VERSIONS or FUTURE_VERSION.fullmatch(version)
    return tuple(map(int, version.split("."))) if valid else ()


def titled(field: str) -> str:
    """Requires-Dist of requires_dist."""
    special = {"project_urls": "Project-URL", "project_url": "Project-URL"}
    return special.get(field) or field.replace("_", "-").title()


def refused(field: str, value: str, rule: str) -> str:
    """The sentence about a value that breaks a rule."""
    return f"Metadata field {titled(field)} is {shown(value)}; it must be {rule}."


def shown(value: str) -> str:
    """The value in quotes on one line, shortened."""
    text = repr(value[:MAX_SHOWN])
    return text if len(text) <= MAX_SHOWN and len(value) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."

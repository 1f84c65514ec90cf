"""The pages of another index: which projects it has, and which files a project has.

Of the simple repository API (packaging.python.org, "Simple repository API") this reads the JSON of
PEP 691, 700 and 792 and the HTML of PEP 503, 592 and 792; folders that a web server lists are near
enough to the latter. What is no link to a project or a file is passed over, as pip does.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import Message
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urldefrag, urlsplit

from packaging.utils import canonicalize_name

from extrapypi.auth import UNPRINTABLE
from extrapypi.errors import InvalidInput, TooLarge
from extrapypi.models import NAME, STATUSES
from extrapypi.weburls import bare, web_url

JSON = "application/vnd.pypi.simple.v1+json"
HTML = ("application/vnd.pypi.simple.v1+html", "text/html")
TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00:00)")
TAG = re.compile(r"<(?:(?P<comment>!--)|(?P<tag>a|base|meta)(?=[\s/>]))", re.IGNORECASE)
ATTRIBUTE = re.compile(  # or the end of the tag
    r"""[\s/]*(?:(?P<end>>)|(?P<name>[^\s/>][^\s/>=]*)"""
    r"""(?:\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s>]*)))?)"""
)
READ = frozenset({"href", "data-yanked", "name", "content"})  # attributes
STATUS, REASON = "pypi:project-status", "pypi:project-status-reason"
LONG_NUMBER = re.compile(r"&#[0-9]{9}")  # of no character; Python refuses one of 4301 digits
ENCODINGS = frozenset(  # as codecs calls them; of the others some take quadratic time
    ["utf-8", "ascii", "iso8859-1", "utf-16", "utf-16-le", "utf-16-be"]
    + [f"cp{number}" for number in range(1250, 1259)]
)
DIGESTS = frozenset(name for name in hashlib.algorithms_guaranteed if "shake" not in name)
MAX_REASON = 2_000  # characters
MAX_PROJECTS = 1_000_000  # of an index; pypi.org has about 700,000
MAX_FILES = 100_000  # of a project
MAX_VALUES = 5_000_000  # of JSON; each takes up to 100 bytes of memory or so


class Page(NamedTuple):
    """A page as it came: its URL after all redirects, its Content-Type, its bytes."""

    url: str
    content_type: str
    body: bytes

    @property
    def header(self) -> Message:
        """The Content-Type, to be asked for its parts."""
        header = Message()
        header["Content-Type"] = UNPRINTABLE.sub("", self.content_type)
        return header

    @property
    def is_json(self) -> bool:
        """Whether it is JSON, not HTML; InvalidInput when it is neither."""
        kind = self.header.get_content_type()
        if kind != JSON and kind not in HTML:
            raise InvalidInput(
                f"{bare(self.url)} is no page of a package index: its Content-Type is "
                f"{self.content_type[:100]!r}, neither {HTML[1]} nor {JSON}."
            )
        return kind == JSON

    @property
    def text(self) -> str:
        """The body; what its encoding does not have becomes a mark."""
        try:
            encoding = codecs.lookup(self.header.get_content_charset("utf-8")).name
        except (LookupError, ValueError):  # there is none of this name
            encoding = "utf-8"
        return self.body.decode(encoding if encoding in ENCODINGS else "utf-8", "replace")


@dataclass(frozen=True)
class Link:
    """A file as another index lists it; whether it is a distribution is not known yet."""

    filename: str
    url: str
    hashes: dict[str, str]  # hashlib's name -> lower-case hex
    upload_time: datetime | None = None  # UTC
    yanked: str | None = None  # the reason, which may be ""; None: it is not yanked


@dataclass(frozen=True)
class ProjectPage:
    """What another index says of a project; status and reason as in PEP 792."""

    files: list[Link]
    status: str
    reason: str


def projects(page: Page) -> list[str]:
    """The names of all projects, as the URLs of their pages have them.

    :raises InvalidInput: for what is no page of an index.
    :raises TooLarge: for more than are taken.
    """
    if page.is_json:
        found = entries(page, document(page), "projects", "name")
        names: Iterable[str] = (canonicalize_name(entry["name"]) for entry in found)
    else:
        names = (first_part(page.url, url) for url, _ in Anchors(page))
    return distinct(page, ((name, name) for name in names if NAME.match(name)), MAX_PROJECTS)


def project(page: Page) -> ProjectPage:
    """The files and the status of a project.

    :raises InvalidInput: for what is no page of an index.
    :raises TooLarge: for more files than are taken.
    """
    if page.is_json:
        found = document(page)
        listed = entries(page, found, "files", "filename", "url")
        files = links(page, (json_link(page.url, entry) for entry in listed))
        marks = found.get("project-status")
        marks = marks if isinstance(marks, dict) else {}
        status, reason = marks.get("status"), marks.get("reason")
    else:
        anchors = Anchors(page)
        files = links(page, (html_link(url, attributes) for url, attributes in anchors))
        status, reason = anchors.meta.get(STATUS), anchors.meta.get(REASON)
    status = status if status in STATUSES else "active"  # clients need not know other words
    return ProjectPage(files, status, plain(reason))


def links(page: Page, found: Iterable[Link | None]) -> list[Link]:
    """The files, each once."""
    keyed = (((link.filename, link.url), link) for link in found if link)
    return distinct(page, keyed, MAX_FILES)


def distinct(page: Page, found: Iterable[tuple[Hashable, Any]], most: int) -> list[Any]:
    """Of all with the same key the first; TooLarge when there are more than so many keys."""
    kept: dict[Hashable, Any] = {}
    for key, value in found:
        kept.setdefault(key, value)
        if len(kept) > most:
            raise TooLarge(f"{bare(page.url)} lists more than {most} entries, the most taken.")
    return list(kept.values())


def document(page: Page) -> dict[str, Any]:
    """The JSON object of a page; InvalidInput when it is none, TooLarge for too many values."""
    if sum(map(page.body.count, (b"{", b"[", b","))) > MAX_VALUES:
        raise TooLarge(f"{bare(page.url)} has more than {MAX_VALUES} values, the most taken.")
    try:
        found = json.loads(page.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(f"{bare(page.url)} is no page of a package index: it is no JSON object.")
    return found


def entries(page: Page, found: dict[str, Any], key: str, *texts: str) -> list[dict[str, Any]]:
    """The list under the key, of objects that have these texts; InvalidInput when it is none."""
    listed = found.get(key)
    if not isinstance(listed, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in texts)
        for entry in listed
    ):
        raise InvalidInput(
            f"{bare(page.url)} is no page of a package index: {key!r} is no list of objects with "
            f"{' and '.join(texts)}."
        )
    return listed


def json_link(page_url: str, entry: dict[str, Any]) -> Link | None:
    """The file of an entry; None when its URL is none of the web."""
    url = web_url(page_url, entry["url"])
    hashes, yanked = entry.get("hashes"), entry.get("yanked")
    if url is None:
        return None
    return Link(
        entry["filename"],
        urldefrag(url)[0],
        checkable(hashes.items() if isinstance(hashes, dict) else ()),
        json_time(entry.get("upload-time")),
        plain(yanked) if yanked else None,
    )


def html_link(url: str, attributes: dict[str, str]) -> Link:
    """The file of an anchor; its name is the last part of the URL, as pip has it."""
    url, fragment = urldefrag(url)
    yanked = plain(attributes["data-yanked"]) if "data-yanked" in attributes else None
    filename = unquote(urlsplit(url).path.rpartition("/")[2])
    return Link(filename, url, checkable(parse_qsl(fragment)), yanked=yanked)


class Anchors:
    """The links of an HTML page, (URL, attributes) each; then ``meta`` has what it says of itself.

    They are not kept: a page may have millions.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.meta: dict[str, str] = {}  # name -> content, of those that matter

    def __iter__(self) -> Iterator[tuple[str, dict[str, str]]]:
        base, is_first = self.page.url, True
        for tag, attributes in tags(self.page.text):
            url = web_url(base, attributes["href"]) if "href" in attributes else None
            if tag == "meta" and attributes.get("name") in (STATUS, REASON):
                self.meta[attributes["name"]] = attributes.get("content", "")
            elif tag == "base" and url and is_first:
                base, is_first = url, False  # the others do not count
            elif tag == "a" and url:
                yield url, attributes


def tags(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The start tags that matter, with their attributes that do; not those in comments.

    Not by html.parser: in Pythons that are still about, 100 KB from a hostile index can keep that
    busy for minutes (CVE-2025-6069). Here no character is looked at more than a few times.
    """
    at = 0
    while found := TAG.search(text, at):
        at = found.end()
        if found["comment"]:
            end = text.find("-->", at)
            if end < 0:
                return
            at = end
            continue
        attributes: dict[str, str] = {}
        while (part := ATTRIBUTE.match(text, at)) and not part["end"]:
            at, name = part.end(), part["name"].lower()
            if name in READ and name not in attributes:
                value = part["double"] or part["single"] or part["bare"] or ""
                attributes[name] = value if LONG_NUMBER.search(value) else unescape(value)
        if part is None:  # the page ends within the tag
            return
        at = part.end()
        yield found["tag"].lower(), attributes


def first_part(root: str, url: str) -> str:
    """The first part of the URL's path below the root's; "" when it is not below."""
    top, path = urlsplit(root).path.rstrip("/") + "/", urlsplit(url).path
    return unquote(path.removeprefix(top).partition("/")[0]) if path.startswith(top) else ""


def checkable(digests: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Those of the digests that can be computed here."""
    return {
        name: digest.lower()
        for name, digest in digests
        if name in DIGESTS and isinstance(digest, str)
    }


def plain(text: Any) -> str:
    """A reason as it may be kept; "" for what is no text."""
    return UNPRINTABLE.sub(" ", text)[:MAX_REASON] if isinstance(text, str) else ""


def json_time(text: Any) -> datetime | None:
    """The moment in UTC that a text as in PEP 700 means; None when it is none."""
    match = TIME.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return None
    day, second, fraction = match.groups("")
    try:
        return datetime.fromisoformat(f"{day}T{second}.{fraction[:6]:0<6}+00:00")
    except ValueError:
        return None


def http_time(text: str) -> datetime | None:
    """The moment in UTC that a Last-Modified header means (RFC 9110); None when it is none."""
    try:
        time = parsedate_to_datetime(text)
        return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None

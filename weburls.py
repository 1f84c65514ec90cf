"""The URLs of other hosts: which are usable, what of them may be shown, who gets credentials."""

from __future__ import annotations

import base64
import netrc
import os
import re
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from extrapypi.auth import UNPRINTABLE
from extrapypi.errors import InvalidInput

PORTS = {"http": 80, "https": 443}


def index_parts(url: str) -> SplitResult:
    """The parts of the URL of an index; InvalidInput when it is none."""
    with suppress(ValueError):
        parts = urlsplit(url.strip())
        # An @ behind the host may be the real one, and all before it end in a password.
        is_clear = "@" not in parts.path + parts.query + parts.fragment
        if parts.scheme in PORTS and parts.hostname and parts.port != 0 and is_clear:
            return parts
    shown_url = re.sub(r"^(\w+://)?.*@", r"\1", url, flags=re.DOTALL)
    raise InvalidInput(
        f"{shown_url!r} is no URL of an index; it is "
        "https://user:password@host/simple/, in which : / # ? @ of the password are "
        "percent-encoded."
    )


def web_url(base: str, href: str) -> str | None:
    """The URL that a link means; None when it is none of http or https."""
    try:
        url = urljoin(base, href.strip())
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        return url if usable else None
    except ValueError:  # also of the port
        return None


def bare(url: str) -> str:
    """The URL as it may be shown: without credentials and what may stand for some."""
    parts = urlsplit(url)
    return UNPRINTABLE.sub("?", f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)


def authorization(parts: SplitResult) -> str | None:
    """The Authorization header for the index: Basic (RFC 7617), or None without credentials."""
    if parts.username is not None:
        username, password = unquote(parts.username), unquote(parts.password or "")
    else:
        try:
            known = netrc.netrc(os.environ.get("NETRC") or None)
            found = known.authenticators(parts.hostname or "")
        except (OSError, ValueError, netrc.NetrcParseError):
            found = None  # there is none, or none that may be used
        if not found:
            return None
        username, password = found[0] or found[1] or "", found[2] or ""
    pair = f"{username}:{password}".encode("utf-8", "surrogatepass")
    return "Basic " + base64.b64encode(pair).decode("ascii")

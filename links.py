"""The links of a project, as pages show them: live only when they lead to a web page.

Labels: the well-known project URLs (PEP 753), and what pypi.org's users write for them.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from extrapypi.models import Release

PUNCTUATION = re.compile(r"[\W_]+")
WELL_KNOWN = {  # what is shown, and which labels say it
    "Homepage": ("homepage",),
    "Documentation": ("documentation", "docs"),
    "Source": ("source", "repository", "sourcecode", "github"),
    "Changelog": ("changelog", "changes", "whatsnew", "history"),
    "Release notes": ("releasenotes",),
    "Issue tracker": ("issues", "bugs", "issue", "tracker", "issuetracker", "bugtracker"),
    "Download": ("download",),
    "Funding": ("funding", "sponsor", "donate", "donation"),
}
SHOWN_AS = {label: shown for shown, labels in WELL_KNOWN.items() for label in labels}
ORDER = list(WELL_KNOWN)


class Link(NamedTuple):
    """A link of a project; one that is not live is shown as text."""

    label: str
    url: str
    is_live: bool


def links(release: Release) -> list[Link]:
    """The release's links, well-known ones first; each address once."""
    labelled = [(label_of(label), url.strip()) for label, url in release.project_urls.items()]
    labelled += [("Homepage", release.home_page), ("Download", release.download_url)]
    found: dict[str, str] = {}
    for label, url in labelled:
        if url and url not in found:
            found[url] = label
    links = [Link(label, url, is_web_address(url)) for url, label in found.items()]
    return sorted(links, key=lambda link: (rank(link.label), link.label.casefold()))


def label_of(label: str) -> str:
    """The label as people know it."""
    return SHOWN_AS.get(PUNCTUATION.sub("", label).lower(), label)


def rank(label: str) -> int:
    """Where a label stands; unknown ones come last."""
    return ORDER.index(label) if label in ORDER else len(ORDER)


def licence(release: Release) -> str:
    """The release's licence in a few words, as its metadata tell it; "" when they do not."""
    classifiers = [text for text in release.classifiers if text.startswith("License ::")]
    named = [text.rpartition("::")[2].strip() for text in classifiers]
    lines = [line.strip() for line in release.license.splitlines() if line.strip()]
    if release.license_expression or not lines:
        return release.license_expression or ", ".join(named)
    return lines[0] if len(lines) == 1 or not named else ", ".join(named)


def is_web_address(url: str) -> bool:
    """Whether it is an http or https URL with a host; anything else is never a link (XSS)."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable()
    except ValueError:
        return False

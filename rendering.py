"""Descriptions as HTML: made once in a process of its own, with limits, and kept in the table.

A page shows what was made at the upload; it is made anew when another version of a renderer, or
another setting, would make something else of it.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from markupsafe import Markup

from extrapypi.database import give_back, not_now, retried, transaction
from extrapypi.distributions import Distribution
from extrapypi.errors import NotFound, Unavailable
from extrapypi.markup import RULES, plain
from extrapypi.models import Package, Release

log = logging.getLogger("extrapypi")

LONGEST = 2**20  # characters that are rendered at all
PATIENCE = 20  # seconds of real time, for a process that is given no processor
RENDERERS = ("readme-renderer", "docutils", "comrak", "nh3")
CHILD = """\
import json, sys
job = json.load(sys.stdin)
sys.path[:] = job.pop("path")
from extrapypi import markup
markup.answer(job)
"""

turn = threading.BoundedSemaphore(2)  # renderings at once, however many pages are asked for


def render(description: str, content_type: str, images: bool = False) -> tuple[str, str | None]:
    """The description as safe HTML, and why it is shown as plain text, if it is.

    :param content_type: as in the core metadata; "" means reStructuredText.
    :param images: whether images of other hosts are shown (README_IMAGES), or links to them.
    :raises Unavailable: when it cannot be found out now.
    """
    if len(description) > LONGEST:
        fault = f"It has more than {LONGEST:,} characters; the others are not shown."
        return plain(description[:LONGEST]), fault
    job = {
        "path": [path for path in sys.path if isinstance(path, str)],
        "text": description,
        "content_type": content_type,
        "images": images,
    }
    status, output = run_child(json.dumps(job).encode())
    if status < 0:  # ended by a signal
        return plain(description), "Rendering it takes too much time or memory."
    html, fault = json.loads(output)
    return html, fault


def run_child(job: bytes) -> tuple[int, bytes]:
    """Status and output of the process that does the work.

    :raises Unavailable: when it cannot be started, fails, or does not get on.
    """
    if not turn.acquire(timeout=PATIENCE):
        raise Unavailable("The server is busy with rendering others; load the page again.")
    try:
        command = [interpreter(), "-I", "-c", CHILD]
        done = subprocess.run(command, input=job, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.error("A description could not be rendered: %r", error)
        raise Unavailable("It could not be rendered now; load the page again.") from error
    finally:
        turn.release()
    if done.returncode > 0:
        log.error("A description could not be rendered: %s", done.stderr.decode(errors="replace"))
        raise Unavailable("It could not be rendered; the server's log says why.")
    return done.returncode, done.stdout


def interpreter() -> str:
    """Python's own program; in servers that embed Python, sys.executable is the server."""
    if "python" in Path(sys.executable or "").name:
        return sys.executable
    return str(Path(sys.prefix, "bin", "python3"))


@cache
def rendered_by(images: bool = False) -> str:
    """What makes the HTML now: another text means that it would be another."""
    versions = "/".join(version(name) for name in RENDERERS)
    return f"{RENDERERS[0]} {versions}/{RULES}{'+images' if images else ''}"[:64]


def shown(release: Release, images: bool = False) -> tuple[Markup, str | None]:
    """The release's description as safe HTML, and why it is shown as plain text, if it is.

    What was kept is given when it is what would be made now.
    """
    if not release.description.strip():
        return Markup(""), None
    by = rendered_by(images)
    if release.rendered_by != by:
        give_back()  # it may take seconds
        try:
            html, fault = render(release.description, release.description_content_type, images)
        except Unavailable as error:
            return Markup(plain(release.description[:LONGEST])), str(error)
        release.rendered, release.rendering_fault, release.rendered_by = html, fault, by
        with not_now("A rendered description was not kept"):
            keep(release)
    return Markup(release.rendered), release.rendering_fault


@retried
def keep(release: Release) -> None:
    """Keeps what was made of the description, unless it is another one by now.

    No index page shows it, so that no serial is taken.
    """
    source = ("description", "description_content_type")
    made = ("rendered", "rendering_fault", "rendered_by")
    same = [getattr(Release, name) == getattr(release, name) for name in source]
    with transaction():
        values = {name: getattr(release, name) for name in made}
        Release.update(values).where(Release.id == release.id, *same).execute()


def after_upload(distribution: Distribution, images: bool = False) -> None:
    """Makes what the release's page will show, if the upload has changed its description."""
    if distribution.metadata.description.strip():
        with suppress(NotFound):  # it may be gone again
            package = Package.named(distribution.normalized_name)
            shown(Release.of(package, distribution.canonical_version), images)

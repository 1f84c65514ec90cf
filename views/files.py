"""Distribution files and their core metadata, below ``/packages/``."""

from __future__ import annotations

from urllib.parse import quote

from bottle import HTTPResponse, request

from extrapypi.database import give_back
from extrapypi.distributions import FILENAME
from extrapypi.errors import Forbidden, NotFound
from extrapypi.lookups import ServedFile
from extrapypi.pages import Answer, Page
from extrapypi.sending import cache_control, send_file
from extrapypi.storage import SIDECAR
from extrapypi.views import normalized, redirect

EMPTY = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": "0"}


def download(site, actor, project, filename):
    """GET /packages/<project>/<filename>, also below /simple/, and with .metadata behind it."""
    name = normalized(project)
    if not FILENAME.match(filename):
        raise NotFound(f"There is no file {quote(filename)}.")
    if name != project:
        return redirect(f"/packages/{name}/{filename}", 301)
    if filename.endswith(SIDECAR):
        return metadata(site, actor, name, filename.removesuffix(SIDECAR))
    file = find(site, actor, name, filename)
    return sent(site, file, request.environ).response()


def sent(site, file: ServedFile, environ: dict) -> Answer:
    """The answer with the file, or with the place where the storage offers it."""
    answer = offered(site, file, environ)
    if answer.status[:3] in ("200", "206", "302") and is_from_the_start(environ):
        site.downloads.note(file.id, environ.get("HTTP_USER_AGENT", ""))
        if site.metrics is not None:
            site.metrics.note_download()
    return answer


def offered(site, file: ServedFile, environ: dict) -> Answer:
    """The answer to the request, not yet counted."""
    url = site.storage.get_url(file.location, environ.get("HTTP_USER_AGENT", ""))
    # A HEAD is answered here: such a URL may be good for a GET only.
    if url is not None and environ["REQUEST_METHOD"] == "GET":
        headers = {"Location": url, "Cache-Control": "no-store", **EMPTY}
        return Answer("302 Found", list(headers.items()), [])
    headers = {"Cache-Control": cache_control(site.config.ANONYMOUS_READ)}
    sendfile = site.config.SENDFILE if "extrapypi.proxied" in environ else None
    return send_file(file, site.storage, environ, headers, sendfile)


def is_from_the_start(environ: dict) -> bool:
    """Whether the request is for the file from its first byte on, and so counts as a download.

    Installers also read the end of a wheel, for its metadata, and go on where they broke off.
    """
    part = environ.get("HTTP_RANGE", "").replace(" ", "")
    return environ["REQUEST_METHOD"] == "GET" and (not part or part.startswith("bytes=0-"))


def metadata(site, actor, name: str, filename: str) -> HTTPResponse:
    """The core metadata of a wheel (PEP 658), byte for byte as it is in the wheel."""
    file = find(site, actor, name, filename)
    if not file.metadata_sha256:
        raise NotFound(f"There is no core metadata of {filename}.")
    headers = {
        "Cache-Control": cache_control(site.config.ANONYMOUS_READ),
        "Vary": "Accept-Encoding",
    }

    def page() -> Page:
        return Page(site.storage.get_metadata(file.location), "text/plain", headers)

    found = site.pages.get(metadata_key(file), actor.serial, lambda: 0, page)
    return found.answer(request.environ).response()


def metadata_key(file: ServedFile) -> tuple[str, str | None]:
    """Where the core metadata of a file is kept."""
    return "metadata", file.metadata_sha256


def find(site, actor, name: str, filename: str) -> ServedFile:
    """The file of this name, in this project.

    :raises NotFound: when there is none, or it is in another project.
    :raises Forbidden: for a project in quarantine, which offers no files (PEP 792).
    """
    file = site.files.get(filename, actor.serial)
    if file.project != name:
        raise NotFound(f"There is no file {filename} in the project {name}.")
    actor.check_package(name)
    if file.status == "quarantined":
        raise Forbidden(f"The project {name} is in quarantine: {file.status_reason}")
    give_back()  # the storage may take its time
    return file

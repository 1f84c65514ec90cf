"""Distribution files and their core metadata, below ``/packages/``."""

from __future__ import annotations

from urllib.parse import quote

from bottle import HTTPResponse, request

from extrapypi.database import give_back
from extrapypi.distributions import FILENAME
from extrapypi.errors import Forbidden, NotFound
from extrapypi.models import ServedFile
from extrapypi.pages import Page, header
from extrapypi.sending import cache_control, send_file
from extrapypi.storage import SIDECAR
from extrapypi.views import normalized, redirect


def download(site, actor, project, filename):
    """GET /packages/<project>/<filename>, also below /simple/, and with .metadata behind it."""
    name = normalized(project)
    if name != project:
        return redirect(f"/packages/{name}/{filename}", 301)
    if filename.endswith(SIDECAR):
        return metadata(site, actor, name, filename.removesuffix(SIDECAR))
    file = find(actor, name, filename)
    response = sent(site, file)
    if response.status_code in (200, 206, 302) and is_from_the_start():
        site.downloads.note(file.id, header("User-Agent"))
    return response


def sent(site, file: ServedFile) -> HTTPResponse:
    """The answer with the file, or with the place where the storage offers it."""
    url = site.storage.get_url(file.location, header("User-Agent"))
    if url is not None and request.method == "GET":  # which is all that such a URL may be good for
        return HTTPResponse(b"", 302, {"Location": url, "Cache-Control": "no-store"})
    headers = {"Cache-Control": cache_control(site.config.ANONYMOUS_READ)}
    sendfile = site.config.SENDFILE if "extrapypi.proxied" in request.environ else None
    return send_file(file, site.storage, headers, sendfile)


def is_from_the_start() -> bool:
    """Whether the request is for the file from its first byte on, and so counts as a download.

    Installers also read the end of a wheel, for its metadata, and go on where they broke off.
    """
    part = header("Range").replace(" ", "")
    return request.method == "GET" and (not part or part.startswith("bytes=0-"))


def metadata(site, actor, name: str, filename: str):
    """The core metadata of a wheel (PEP 658), byte for byte as it is in the wheel."""
    file = find(actor, name, filename)
    if not file.metadata_sha256:
        raise NotFound(f"There is no core metadata of {filename}.")
    headers = {
        "Cache-Control": cache_control(site.config.ANONYMOUS_READ),
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }

    def page() -> Page:
        return Page(site.storage.get_metadata(file.location), "text/plain", headers)

    key = ("metadata", file.metadata_sha256)
    return site.pages.get(key, actor.serial, lambda: 0, page).answer()


def find(actor, name: str, filename: str) -> ServedFile:
    """The file of this name, in this project.

    :raises NotFound: when there is none, or it is in another project.
    :raises Forbidden: for a project in quarantine, which offers no files (PEP 792).
    """
    if not FILENAME.match(filename):
        raise NotFound(f"There is no file {quote(filename)}.")
    file = ServedFile.named(filename)
    if file.project != name:
        raise NotFound(f"There is no file {filename} in the project {name}.")
    actor.check_package(name)
    if file.status == "quarantined":
        raise Forbidden(f"The project {name} is in quarantine: {file.status_reason}")
    give_back()  # the storage may take its time
    return file

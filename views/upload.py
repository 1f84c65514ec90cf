"""Publishing files in the browser, by the same rules as with twine."""

from __future__ import annotations

import logging
from typing import NamedTuple

from bottle import request

from extrapypi import distributions, forms, publishing, rendering, sessions
from extrapypi.answers import drain
from extrapypi.database import give_back
from extrapypi.errors import ExtraPyPIError, InvalidInput, TooLarge
from extrapypi.incoming import Incoming
from extrapypi.views.browser import page

log = logging.getLogger("extrapypi")


class Result(NamedTuple):
    """What became of a file; the project is its normalized name, if it was taken."""

    filename: str
    outcome: str  # published, known or refused
    project: str = ""
    version: str = ""
    faults: tuple[str, ...] = ()


def upload(site, actor):
    """GET and POST /dashboard/upload/"""
    results: list[Result] = []
    if request.method == "POST":
        give_back()  # the body may come slowly

        def check(token: str) -> None:
            sessions.check_form_token(actor, site.config.secret_keys, token)

        sent = forms.sent_files(site.storage, site.config.MAX_UPLOAD_SIZE, check)
        try:
            for filename, incoming in sent:
                results.append(judged(site, actor, filename, incoming))
        except (InvalidInput, TooLarge) as error:
            if not results:
                raise
            drain()
            results.append(Result("The rest of the form", "refused", faults=(str(error),)))
    refused = sum(result.outcome == "refused" for result in results)
    nothing = request.method == "POST" and not results
    return page(
        site,
        actor,
        "upload/upload.html",
        400 if refused or nothing else 200,
        results=results,
        refused=refused,
        nothing=nothing,
        largest=site.config.MAX_UPLOAD_SIZE,
        most=forms.MOST_FILES,
    )


def judged(site, actor, filename: str, incoming: Incoming | ExtraPyPIError) -> Result:
    """Publishes one file, or says why not."""
    try:
        if isinstance(incoming, ExtraPyPIError):
            raise incoming
        distribution = distributions.read(incoming.content(), filename)
        is_new = publishing.add_file(site.storage, actor, distribution, incoming)
        name, version = distribution.normalized_name, distribution.metadata.version
        rendering.after_upload(distribution, site.config.README_IMAGES)
    except ExtraPyPIError as error:
        if error.status >= 500:
            log.error("Upload of %s: %s (%r)", filename, error, error.__cause__)
        return Result(filename, "refused", faults=getattr(error, "faults", (str(error),)))
    finally:
        give_back()  # the next file may come slowly
    outcome = "published" if is_new else "known"
    return Result(filename, outcome, name, version)

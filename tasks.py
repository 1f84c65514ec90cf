"""What waitress's threads do for a connection: they answer, or ask whether a body may come in."""

from __future__ import annotations

from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import WSGITask

from extrapypi.answers import FAULT
from extrapypi.errors import ExtraPyPIError
from extrapypi.forms import EARLY
from extrapypi.gateway import REFUSED, REQUEST_ID, USER
from extrapypi.intake import Parser


class Task(WSGITask):
    """The answer to a request; a 304, which has no length, lets the connection open."""

    def execute(self) -> None:
        ready = self.request.ready
        if ready is None:
            super().execute()
        else:
            self.status, self.complete = ready.status, True
            self.response_headers.extend(ready.headers)
            self.write(ready.body)

    def get_environment(self) -> dict[str, Any]:
        environ = super().get_environment()
        if self.request.form is not None:
            environ[EARLY] = self.request.form
        if self.request.admission is not None:
            environ |= self.request.admission.known
        return environ

    def set_close_on_finish(self) -> None:
        asks = self.request.headers.get("CONNECTION", "").lower()
        if self.version != "1.1" or asks == "close" or not self.status.startswith("304"):
            super().set_close_on_finish()


class Refused(Task):
    """The answer to a request that is not let in, after which the connection is closed."""

    def execute(self) -> None:
        self.channel.lingers = True
        self.set_close_on_finish()
        super().execute()

    def get_environment(self) -> dict[str, Any]:
        error = self.request.error
        if not isinstance(error, ExtraPyPIError):  # waitress's own, when the application fails
            error = ExtraPyPIError(FAULT)
        return {**super().get_environment(), REFUSED: error}


class Admission:
    """Asks in a thread whether the sender of a large body may upload; the main loop goes on then.

    A password takes its time, and so may the database; the body waits in the socket meanwhile.
    """

    def __init__(self, channel: HTTPChannel, request: Parser) -> None:
        self.channel = channel
        self.request = request
        self.environ = Task(channel, request).get_environment()
        self.error: ExtraPyPIError | None = ExtraPyPIError(FAULT)  # unless it comes to an end

    @property
    def known(self) -> dict[str, str]:
        """What the access line tells of the request: its id and, once he was found, its sender."""
        return {key: self.environ[key] for key in (REQUEST_ID, USER) if key in self.environ}

    def service(self) -> None:
        """Asks the application."""
        try:
            self.channel.server.application.admit(self.environ)
            self.error = None
        except ExtraPyPIError as error:
            self.error = error
        finally:
            self.channel.server.admissions.append(self)
            self.channel.server.pull_trigger()

    def cancel(self) -> None:
        """The server has stopped; the connection is closed by itself."""

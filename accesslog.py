"""For LOGGING_CONFIG: the handler of the access log, lines as JSON, and the ids of requests.

The handler writes lines together, because one write a line is dear.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any, TextIO

LATEST = 1.0  # seconds that a line waits at most
REQUEST: ContextVar[str] = ContextVar("extrapypi.request_id", default="-")  # answered right now
ACCESS = ("address", "user", "method", "path", "status", "bytes", "milliseconds", "agent")


class RequestID(logging.Filter):
    """Lets every line pass, and gives it ``request_id`` for its format; "-" outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True, always."""
        if not hasattr(record, "request_id"):
            record.request_id = REQUEST.get()
        return True


class JSONFormatter(logging.Formatter):
    """A line as one JSON object, on one line of ASCII whatever its texts are.

    All have ``time`` (UTC), ``level``, ``logger``, ``message`` and ``request_id``; what is not
    known is null. Lines of the access log have their fields besides, an error its traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The JSON text of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "logger": record.name,
        }
        request_id = getattr(record, "request_id", None) or REQUEST.get()
        fields = access_fields(record)
        if fields:
            line["message"] = "{method} {path} {status}".format(**fields)
        else:
            line["message"] = record.getMessage()
        line |= {"request_id": None if request_id == "-" else request_id, **fields}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def access_fields(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a line of the access log; none for all others."""
    told = record.args
    if record.name != "extrapypi.access" or not isinstance(told, tuple) or len(told) != len(ACCESS):
        return {}
    fields: dict[str, Any] = {
        name: None if text == "-" else text for name, text in zip(ACCESS, told, strict=True)
    }
    fields["status"] = int(fields["status"])
    fields["bytes"] = fields["bytes"] and int(fields["bytes"])
    fields["milliseconds"] = round(fields["milliseconds"], 1)
    return fields


class TogetherHandler(logging.StreamHandler):
    """Writes to a stream like its base, but all lines of a second at once.

    They are formatted then, too; what their arguments are must not change any more. The rest is
    written when the program ends.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.records: deque[logging.LogRecord] = deque()  # which needs no lock
        self.waits = threading.Lock()  # held while a timer is running

    def handle(self, record: logging.LogRecord) -> bool:
        """Takes a record like its base, but without the lock, which a writing thread may hold."""
        passed = self.filter(record)
        if passed:  # a filter may give another record, from Python 3.12 on
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the record until the second is over."""
        self.records.append(record)
        if self.waits.acquire(blocking=False):
            timer = threading.Timer(LATEST, self._time_is_up)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:  # the machine has no more threads, or the program ends
                self._time_is_up()

    def _time_is_up(self) -> None:
        self.waits.release()  # before the lines are taken: what comes later has a new timer
        self.flush()

    def flush(self) -> None:
        """Writes all that was kept."""
        with self.lock:  # type: ignore[union-attr] # typeshed: a handler need not have one
            records = [self.records.popleft() for _ in range(len(self.records))]
            lines = "".join(self._line(each) for each in records)
            if lines:
                try:
                    self.stream.write(lines)
                    super().flush()
                except Exception:
                    self.handleError(records[-1])

    def _line(self, record: logging.LogRecord) -> str:
        """The line of a record; nothing for one that cannot be made, which is told as by others."""
        try:
            return self.format(record) + self.terminator
        except Exception:
            self.handleError(record)
            return ""

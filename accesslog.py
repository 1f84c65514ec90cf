"""The handler of the access log: it writes lines together, because one write a line is dear."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TextIO

LATEST = 1.0  # seconds that a line waits at most


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
        with self.lock:
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

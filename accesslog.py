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
        passed = self.filter(record)
        if passed:
            self.emit(record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if self.waits.acquire(blocking=False):
            timer = threading.Timer(LATEST, self._time_is_up)
            timer.daemon = True
            timer.start()

    def _time_is_up(self) -> None:
        self.waits.release()  # before the lines are taken: what comes later has a new timer
        self.flush()

    def flush(self) -> None:
        with self.lock:
            records = [self.records.popleft() for _ in range(len(self.records))]
            try:
                self.stream.write("".join(self.format(each) + self.terminator for each in records))
                super().flush()
            except Exception:
                self.handleError(records[-1] if records else None)

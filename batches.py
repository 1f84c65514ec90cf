"""What requests note in memory, and the one thread of a process that writes it.

No request writes such notes: the thread does, every few seconds and when it is stopped.
"""

from __future__ import annotations

import atexit
import logging
import threading

import peewee

from extrapypi.database import connection, database
from extrapypi.errors import Unavailable

log = logging.getLogger("extrapypi")

INTERVAL = 10  # seconds between two writes


class Writer:
    """The thread; it starts with the first note, because servers fork before."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def start(self) -> None:
        """Starts the thread, unless it runs or was stopped."""
        if self.thread is not None:
            return
        with self.lock:
            if self.thread is None and not self.stopping.is_set():
                self.thread = threading.Thread(target=self._run, daemon=True, name="batches")
                self.thread.start()
                atexit.register(self.stop)  # servers other than ours do not say goodbye

    def _run(self) -> None:
        while not self.stopping.wait(INTERVAL):
            self.flush()
        database.close()  # SQLite's connections are one a thread

    def flush(self) -> None:
        """Writes what was noted in all batches."""
        for batch in self.batches:
            batch.flush()

    def stop(self) -> None:
        """Ends the thread and writes the rest."""
        atexit.unregister(self.stop)
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()
        self.flush()


class Batch:
    """Notes of one kind."""

    NAME = "The notes"  # for the log

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.turn = threading.Lock()
        writer.batches.append(self)

    def take(self) -> list:
        """What was noted since the last time, in the order in which it is to be written."""
        raise NotImplementedError

    def write(self, noted: list) -> None:
        """Writes what :meth:`take` gave, inside a connection; what stays in the list was not."""
        raise NotImplementedError

    def keep(self, noted: list) -> None:
        """Takes back what could not be written, for the next time."""
        raise NotImplementedError

    def flush(self) -> None:
        """Writes what was noted; what the database does not take now is kept for the next time."""
        with self.turn:
            noted = self.take()
            if not noted:
                return
            try:
                with connection():
                    self.write(noted)
            except (peewee.PeeweeException, Unavailable) as error:
                log.warning("%s were not written: %s", self.NAME, error)
                if isinstance(error, Unavailable):
                    self.keep(noted)

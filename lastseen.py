"""When accounts and tokens were last used: noted in memory, written in batches.

No request writes: one background thread does, every few seconds and when it is stopped.
"""

from __future__ import annotations

import atexit
import logging
import threading
from typing import Any

import peewee

from extrapypi.database import connection, database, retried, transaction, utcnow
from extrapypi.errors import Unavailable
from extrapypi.models import Token, User

log = logging.getLogger("extrapypi")

INTERVAL = 10  # seconds between two writes


class LastSeen:
    """Notes who was here; its thread starts with the first note of a process."""

    def __init__(self) -> None:
        self.users: dict[int, Any] = {}
        self.tokens: dict[int, tuple] = {}
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None
        self.lock = threading.Lock()

    def note(self, actor: Any) -> None:
        """Remembers the moment and the address for the account and the token."""
        now = utcnow()
        self.users[actor.user_id] = now
        if actor.token_id is not None:
            self.tokens[actor.token_id] = (now, actor.address)
        if self.thread is None:
            with self.lock:
                if self.thread is None and not self.stopping.is_set():
                    self.thread = threading.Thread(target=self._run, daemon=True, name="lastseen")
                    self.thread.start()
                    atexit.register(self.stop)  # servers other than ours do not say goodbye

    def _run(self) -> None:
        while not self.stopping.wait(INTERVAL):
            self.flush()
        database.close()  # SQLite's connections are one a thread

    def flush(self) -> None:
        """Writes what was noted; what cannot be written now is lost, and the log says so."""
        users, self.users = self.users, {}
        tokens, self.tokens = self.tokens, {}
        if not users and not tokens:
            return
        try:
            with connection():
                write(sorted(users.items()), sorted(tokens.items()))
        except (peewee.PeeweeException, Unavailable) as error:
            log.warning("The times of last use were not written: %s", error)

    def stop(self) -> None:
        """Ends the thread and writes the rest."""
        atexit.unregister(self.stop)
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()
        self.flush()


@retried
def write(users: list, tokens: list) -> None:
    """Writes the times of use by account and by token, in one transaction."""
    with transaction():
        for user_id, at in users:
            User.update(last_login_at=at).where(User.id == user_id).execute()
        for token_id, (at, address) in tokens:
            used = Token.update(last_used_at=at, last_used_from=address)
            used.where(Token.id == token_id).execute()

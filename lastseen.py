"""When accounts, tokens and sessions were last used, written in batches."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from extrapypi.batches import Batch, Writer
from extrapypi.database import retried, transaction, utcnow
from extrapypi.models import Session, Token, User


class LastSeen(Batch):
    """Notes who was here, by account, token and session."""

    NAME = "The times of last use"

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        self.noted: dict[tuple[str, int], tuple[datetime, str]] = {}

    def note(self, actor: Any) -> None:
        """Remembers the moment and the address for the account, the token and the session."""
        seen = utcnow(), actor.address
        self.noted["user", actor.user_id] = seen
        if actor.token_id is not None:
            self.noted["token", actor.token_id] = seen
        if actor.session_id is not None:
            self.noted["session", actor.session_id] = seen
        self.writer.start()

    def take(self) -> list:
        noted, self.noted = self.noted, {}
        return sorted(noted.items())

    def keep(self, noted: list) -> None:
        for key, seen in noted:
            self.noted.setdefault(key, seen)

    @retried
    def write(self, noted: list) -> None:
        with transaction():
            for (kind, row_id), (at, address) in noted:
                if kind == "user":
                    seen = User.update(last_login_at=at).where(User.id == row_id)
                elif kind == "token":
                    used = Token.update(last_used_at=at, last_used_from=address)
                    seen = used.where(Token.id == row_id)
                else:
                    seen = Session.update(last_seen_at=at, address=address)
                    seen = seen.where(Session.id == row_id)
                seen.execute()

"""Wrong passwords and tokens: how often somebody may fail before he has to wait.

Failures are counted in the database, by all processes together, and for each address alone: what
strangers do elsewhere is no reason to refuse anybody.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import Counter
from datetime import datetime, timedelta

from extrapypi.database import retried, transaction, utcnow
from extrapypi.errors import TooManyFailures
from extrapypi.models import Failure

log = logging.getLogger("extrapypi")

WINDOW = timedelta(minutes=5)  # in which failures count
PER_USER, PER_ADDRESS = 10, 100  # failures of one address: for one user name, in all
MOST_COUNTED = 10_000  # addresses and names whose refusals are remembered at once


def neighbourhood(address: str) -> str:
    """The address as failures are counted; of IPv6 the /64, of which one client has it all."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # of a Unix socket
        return address
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))


def throttle(address: str, username: str) -> None:
    """Refuses an address that has failed too often.

    :raises TooManyFailures: after 10 failures for the user name, or 100 in all, in 5 minutes.
    """
    place = neighbourhood(address)
    recent = Failure.select().where(Failure.address == place, Failure.at.between(*window()))
    if (
        recent.where(Failure.username == username).count() >= PER_USER
        or recent.count() >= PER_ADDRESS
    ):
        raise TooManyFailures(
            f"Too many wrong passwords from {place}; wait {WINDOW.seconds // 60} minutes.",
            retry_after=WINDOW.seconds,
        )


def window() -> tuple[datetime, datetime]:
    """Between which moments failures count.

    Those that are hours ahead are of a clock that was set back, and would count for as long.
    """
    now = utcnow()
    return now - WINDOW, now + WINDOW


@retried
def note_failure(address: str, username: str, told: str) -> None:
    """Counts a wrong password and forgets those that no longer count.

    :param told: what the log calls the account. It never has a name that is none: people type
        passwords into the wrong field.
    """
    with transaction():
        Failure.delete().where(~Failure.at.between(*window())).execute()
        Failure.create(address=neighbourhood(address), username=username)
    log.warning("Wrong credentials for %s from %s.", told, address)


class Refusals:
    """How often this process has refused an address for a user name in the last minutes.

    What was found right before needs no check, and so is taken in spite of others' failures from
    the same address. But whoever is refused could find a password so, by trying on: after as many
    refusals as an address may have failures, all have to wait.
    """

    def __init__(self) -> None:
        self.numbers: Counter[tuple[str, str]] = Counter()
        self.end = 0.0  # of the time in which they count

    def note(self, address: str, username: str) -> None:
        """Counts a refusal."""
        now = time.monotonic()
        if now > self.end or len(self.numbers) >= MOST_COUNTED:
            self.numbers, self.end = Counter(), now + WINDOW.seconds
        self.numbers[neighbourhood(address), username] += 1

    def forget(self, address: str, username: str) -> None:
        """Begins anew, after the right password was found by a check."""
        self.numbers.pop((neighbourhood(address), username), None)

    def are_too_many(self, address: str, username: str) -> bool:
        """Whether even what was found right before has to be checked again."""
        if not self.numbers or time.monotonic() > self.end:
            return False
        return self.numbers[neighbourhood(address), username] >= PER_ADDRESS

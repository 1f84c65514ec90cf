"""extrapypi without waiting for the disk, as pypiserver and the bare application store.

Run as ``python unsynced.py run --port PORT``.
"""

from __future__ import annotations

import os
import sys

import peewee

from extrapypi import engines, main

synced = engines.sqlite


def unsynced(url: str) -> peewee.Database:
    """The database at ``url``, which leaves it to the system when its bytes reach the disk."""
    made = synced(url)
    made.pragma("synchronous", "off", permanent=True)
    made.close()
    return made


if __name__ == "__main__":
    os.fsync = lambda handle: None
    engines.sqlite = unsynced
    sys.exit(main())

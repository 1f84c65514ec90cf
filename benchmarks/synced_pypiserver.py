"""pypiserver, made to bring each upload to the disk before it answers, as extrapypi does.

Run in pypiserver's environment, with the arguments of ``pypi-server``.
"""

from __future__ import annotations

import os

from pypiserver import backend
from pypiserver.__main__ import main

write = backend.write_file


def write_and_sync(stream, destination) -> None:
    """Writes the file; its bytes and its name have reached the disk then."""
    write(stream, destination)
    for path in (destination, os.path.dirname(destination)):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


if __name__ == "__main__":
    backend.write_file = write_and_sync
    main()

"""extrapypi: a private Python package index beside pypi.org.

This module is the front door: what it does not define lies beside it in a checkout, and in
``_extrapypi/`` where it is installed, so that no name but ``extrapypi`` is taken.
"""

from __future__ import annotations

import os
import sys

__version__ = "1.0.0"

# A module with a path is a package: ``extrapypi.models`` is found here and nowhere else, also in
# a directory that has a models.py of its own.
__path__ = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "_extrapypi")]
if not os.path.isdir(__path__[0]):  # a checkout, where nothing is moved (see setup.cfg)
    __path__ = [os.path.dirname(__path__[0])]


def create_app(config=None):
    """The WSGI application; see :func:`extrapypi.app.create_app`."""
    from extrapypi.app import create_app

    return create_app(config)


def main(argv=None) -> int:
    """Runs the command line and returns its exit status; see :mod:`extrapypi.commandline`."""
    from extrapypi.commandline import main

    return main(argv)


if __name__ == "__main__":
    from extrapypi import main as run_main  # the one true copy of this module, not __main__

    sys.exit(run_main())

"""The errors of extrapypi: each has a sentence for people and an HTTP status.

They are raised anywhere and turned into answers at the edges only: by the outermost Bottle
plugin, by the server's request parser and by the command line.
"""

from __future__ import annotations


class ExtraPyPIError(Exception):
    """Base of every error here; the message says what is wrong and what to do next."""

    status = 500


class ConfigError(ExtraPyPIError):
    """The configuration cannot be used; raised at start, before anything is served."""


class SchemaError(ExtraPyPIError):
    """The database has no tables, or tables of another version of the program."""

    status = 503


class InvalidInput(ExtraPyPIError):
    """What a person or program sent breaks a rule; the message names value and rule.

    ``field`` is the form's field that it is about, if it is about one.
    """

    status = 400

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidUpload(InvalidInput):
    """A distribution that the index does not accept, with every fault that was found."""

    def __init__(self, *faults: str) -> None:
        super().__init__(" ".join(faults))
        self.faults = faults


class FileExists(InvalidInput):
    """A file of this name with other bytes is on the index; files are never replaced.

    Status 400 with these very words is what twine, poetry and pdm know as "skip it".
    """

    def __init__(self, filename: str) -> None:
        super().__init__(
            f"File already exists: {filename} has other content and is never replaced; "
            "raise the version."
        )
        self.filename = filename


class NotLoggedIn(ExtraPyPIError):
    """Credentials are missing or wrong: 401, the status after which clients ask for others."""

    status = 401


class Forbidden(ExtraPyPIError):
    """The credentials are good, the rights are not enough."""

    status = 403


class NotFound(ExtraPyPIError):
    """There is no such thing here, for a reader who may know that."""

    status = 404


class NotAcceptable(ExtraPyPIError):
    """None of the content types that the client takes can be served."""

    status = 406


class TooLarge(ExtraPyPIError):
    """The body is larger than MAX_UPLOAD_SIZE or one of the form's limits allows."""

    status = 413


class HeaderTooLarge(InvalidInput):
    """The header of a request has more bytes or fields than any client of ours sends."""

    status = 431


class TooManyFailures(ExtraPyPIError):
    """Too many wrong passwords from one address; ``retry_after`` is in seconds."""

    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ExtraPyPIError):
    """A part that the server needs does not answer now; clients try again after a while."""

    status = 503
    retry_after = 5


class BrokenOff(Unavailable):
    """A transaction that the database broke off before its commit; nothing was changed."""


class StorageError(Unavailable):
    """The storage could not do what was asked of it."""


class NotStored(StorageError):
    """A file that is listed is not in the storage."""

    def __init__(self, location: str) -> None:
        name = location.rpartition("/")[2]
        super().__init__(f"The file {name} is listed but not in the storage.")


class NoRoom(StorageError):
    """The disk of the storage or of the request bodies is full."""

    status = 507

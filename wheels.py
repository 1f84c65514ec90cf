"""Which wheels a release has for whom: platform by Python, read from the tags in their names.

Tags: the binary distribution format, PEP 425, 600 and 656; PEP 803 for abi3t.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from extrapypi.distributions import WHEEL
from extrapypi.models import File

IMPLEMENTATIONS = {"py": "Python", "cp": "CPython", "pp": "PyPy", "graalpy": "GraalPy"}
INTERPRETER = re.compile(r"([a-z]+)([0-9]?)([0-9]*)\Z")
OLD_MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
PLATFORMS = tuple(  # a pattern of tags, the row they stand in, what the version is one of
    (re.compile(pattern + r"\Z"), row, library)
    for pattern, row, library in (
        (r"any", "any system", ""),
        (r"(manylinux[0-9]+)_(?P<arch>\w+)", "Linux", "glibc"),
        (r"manylinux_(?P<major>[0-9]+)_(?P<minor>[0-9]+)_(?P<arch>\w+)", "Linux", "glibc"),
        (r"linux_(?P<arch>\w+)", "Linux", ""),
        (r"musllinux_(?P<major>[0-9]+)_(?P<minor>[0-9]+)_(?P<arch>\w+)", "Linux (musl)", "musl"),
        (r"macosx_(?P<major>[0-9]+)_(?P<minor>[0-9]+)_(?P<arch>\w+)", "macOS", "macOS"),
        (r"win_(?P<arch>\w+)", "Windows", ""),
        (r"(?P<arch>win32)", "Windows", ""),
        (r"ios_(?P<major>[0-9]+)_(?P<minor>[0-9]+)_(?P<arch>\w+)", "iOS", "iOS"),
        (r"android_(?P<major>[0-9]+)_(?P<arch>\w+)", "Android", "API"),
    )
)
ORDER = {row: place for place, (_, row, _) in reversed(list(enumerate(PLATFORMS)))}
MOST_NAMED = 5  # Pythons or systems of one wheel
MOST_CELLS = 2000  # of a matrix: a single name could have tags for many more
SAME = {"amd64": "x86_64", "win32": "x86"}  # what Windows calls them


class Wheel(NamedTuple):
    """A wheel in a cell of the matrix; ``note`` is the least version of the system it needs."""

    filename: str
    note: str


class Matrix(NamedTuple):
    """The wheels of a release: for each platform a list of wheels under each Python."""

    pythons: list[str]
    rows: list[tuple[str, list[list[Wheel]]]]


class Tags(NamedTuple):
    """The three tags of a wheel, each of which may be several."""

    interpreters: list[str]
    abis: list[str]
    platforms: list[str]

    @classmethod
    def of(cls, filename: str) -> Tags:
        """Those in the name of a wheel, which is one: it was checked when it was uploaded."""
        return cls(*(tag.split(".") for tag in filename.removesuffix(".whl").split("-")[-3:]))


def suited(file: File) -> str:
    """For which Python and platform a wheel is, in words; "" for other files."""
    if not is_wheel(file):
        return ""
    found = Tags.of(file.filename)
    pythons = [column[-1] for column in sorted({python(*each) for each in pairs(found)})]
    systems = sorted(places(found.platforms).items())
    words = [f"{row[1]} ({least[-1]})" if least[-1] else row[1] for row, least in systems]
    return f"{shortened(pythons)} on {shortened(words)}"


def shortened(words: list[str]) -> str:
    """The first few of the words, in one."""
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def is_wheel(file: File) -> bool:
    """Whether the file is a wheel, and its name has the tags of one."""
    return file.packagetype == WHEEL and file.filename.count("-") >= 4


def matrix(files: Iterable[File]) -> Matrix | None:
    """The wheels among the files by platform and Python; None when there is none, or no end."""
    cells: dict[tuple, dict[tuple, dict[str, tuple]]] = {}
    for filename in sorted(file.filename for file in files if is_wheel(file)):
        found = Tags.of(filename)
        for row, least in places(found.platforms).items():
            for column in {python(*each) for each in pairs(found)}:
                cells.setdefault(row, {}).setdefault(column, {})[filename] = least
    columns = sorted({column for row in cells.values() for column in row})
    if not 0 < len(columns) * len(cells) <= MOST_CELLS:
        return None
    rows = [
        (row[1], [wheels_of(cells[row].get(column, {})) for column in columns])
        for row in sorted(cells)
    ]
    return Matrix([column[-1] for column in columns], rows)


def pairs(found: Tags) -> Iterable[tuple[str, str]]:
    """Interpreter and ABI of each Python that a wheel is for."""
    return {(interpreter, abi) for interpreter in found.interpreters for abi in found.abis}


def wheels_of(cell: dict[str, tuple]) -> list[Wheel]:
    """The wheels of a cell, each with what it needs in words."""
    return [Wheel(filename, least[-1]) for filename, least in cell.items()]


def places(platforms: list[str]) -> dict[tuple[int, str], tuple]:
    """The rows for these platform tags, each with the lowest version in them and its words."""
    found: dict[tuple[int, str], tuple] = {}
    for tag in platforms:
        row, least = place(tag)
        found[row] = min(least, found.get(row, least))
    return found


def place(tag: str) -> tuple[tuple[int, str], tuple]:
    """Row (its rank and name) of a platform tag; the version it needs, with words for it."""
    for pattern, system, library in PLATFORMS:
        match = pattern.match(tag)
        if match is None:
            continue
        parts = match.groupdict()
        arch = SAME.get(parts.get("arch", ""), parts.get("arch", ""))
        version: tuple[int, ...] = OLD_MANYLINUX.get(tag.partition("_")[0], ())
        if not version and "major" in parts:
            version = tuple(int(parts[key]) for key in ("major", "minor") if key in parts)
        words = f"{library} {'.'.join(map(str, version))}" if version and library else ""
        return (ORDER[system], f"{system} {arch}".strip()), (version, words)
    return (len(PLATFORMS), tag), ((), "")


def python(interpreter: str, abi: str) -> tuple[int, tuple[int, ...], str]:
    """What a column is sorted by, and its heading: CPython 3.13, CPython 3.9 and later."""
    match = INTERPRETER.match(interpreter)
    if match is None or match[1] not in IMPLEMENTATIONS:
        return len(IMPLEMENTATIONS), (), f"{interpreter} {abi}"
    version = tuple(int(part) for part in match.groups()[1:] if part)
    name = f"{IMPLEMENTATIONS[match[1]]} {'.'.join(map(str, version))}".strip()
    if abi.startswith("abi3"):
        name += " and later"
    if abi.endswith("t") and match[1] == "cp":
        name += " free-threaded"
    return list(IMPLEMENTATIONS).index(match[1]), version, name

"""The tags of wheels in words, and the matrix of platform and Python."""

from __future__ import annotations

import pytest

from extrapypi import wheels
from extrapypi.models import File


def file_named(filename: str) -> File:
    return File(filename=filename, packagetype="bdist_wheel")


def matrix_of(*tags: str) -> wheels.Matrix | None:
    return wheels.matrix([file_named(f"a-1-{tag}.whl") for tag in tags])


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("py3-none-any", "Python 3 on any system"),
        ("py2.py3-none-any", "Python 2, Python 3 on any system"),
        ("cp39-abi3-win32", "CPython 3.9 and later on Windows x86"),
        (
            "cp313-cp313t-musllinux_1_2_aarch64",
            "CPython 3.13 free-threaded on Linux (musl) aarch64 (musl 1.2)",
        ),
        ("pp310-pypy310_pp73-manylinux1_i686", "PyPy 3.10 on Linux i686 (glibc 2.5)"),
        ("cp312-cp312-macosx_10_13_universal2", "CPython 3.12 on macOS universal2 (macOS 10.13)"),
        (
            "cp312-cp312-manylinux_2_28_x86_64.manylinux_2_5_x86_64",
            "CPython 3.12 on Linux x86_64 (glibc 2.5)",
        ),
        ("cp313-cp313-ios_13_0_arm64_iphoneos", "CPython 3.13 on iOS arm64_iphoneos (iOS 13.0)"),
        ("xy-none-plan9_64", "xy none on plan9_64"),
        (
            "py31.py32.py33.py34.py35.py36.py37-none-any",
            "Python 3.1, Python 3.2, Python 3.3, Python 3.4, Python 3.5 and 2 more on any system",
        ),
    ],
)
def test_tags_are_told_in_words(tag, words):
    assert wheels.suited(file_named(f"a-1-{tag}.whl")) == words
    assert wheels.suited(file_named(f"a-1-7build-{tag}.whl")) == words


def test_the_matrix_is_sorted_and_empty_where_there_is_no_wheel():
    found = matrix_of("cp310-cp310-win_amd64", "cp39-cp39-linux_x86_64", "py3-none-any")
    assert found.pythons == ["Python 3", "CPython 3.9", "CPython 3.10"]
    assert [row for row, _ in found.rows] == ["any system", "Linux x86_64", "Windows x86_64"]
    assert [len(cell) for cell in found.rows[1][1]] == [0, 1, 0]


def test_names_with_tags_beyond_measure_make_no_matrix():
    letters = [chr(97 + number) for number in range(26)]
    many = ".".join(letters + [f"{letter}b" for letter in letters])
    assert matrix_of(f"{many}-none-{many}") is None
    assert matrix_of() is None

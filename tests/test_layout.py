"""The house: which module may use which, and that every module is shipped."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (  # a module imports only what stands to its left
    "errors accesslog settings config engines database schema trigrams models lookups "
    "passwords batches lastseen throttling auth sessions incoming storage objectstore s3 "
    "contract core_metadata limits zips tars archives distributions accounts history people "
    "paging markup rendering counts search packages dependencies publishing listing weburls "
    "otherpages otherindex importing from2018 checking mending manifest dumping backup "
    "restoring forms pages schemas openapi metrics wheels links metadata_diff browsing "
    "catalogue answers sending gateway views guards shortcut app framing intake tasks "
    "channels serving starting doctor outside commands commandline extrapypi wsgi"
).split()


def modules() -> dict[str, Path]:
    """Name to path of every module; those of a package under the package's name."""
    found = {path.stem: path for path in ROOT.glob("*.py")}
    return {**found, **{f"views/{path.stem}": path for path in (ROOT / "views").glob("*.py")}}


def imported(path: Path) -> set[str]:
    """The modules of ours that the module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "extrapypi":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("extrapypi."):
            names.add(node.module.split(".")[1])
    return names & set(ORDER)


@pytest.mark.parametrize("name", modules())
def test_imports_go_one_way(name):
    own = name.partition("/")[0]
    allowed = set(ORDER[: ORDER.index(own)]) | ({own} if "/" in name else set())
    late = {"app", "commandline"} if own == "extrapypi" else set()  # inside functions
    assert imported(modules()[name]) <= allowed | late


def test_every_module_is_shipped():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["py_modules"].split())
    here = {path.stem for path in ROOT.glob("*.py")} - {"extrapypi"}
    assert listed == {"extrapypi"} | {f"_extrapypi.{name}" for name in here}


def test_nothing_is_named_like_a_module_of_others():
    import sys

    own = {path.stem for path in ROOT.glob("*.py")}
    assert not own & set(sys.stdlib_module_names)

"""The documentation: it builds without warnings, its examples run, and nothing is missing in it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

from extrapypi.commandline import COMMANDS
from extrapypi.s3 import S3Storage
from extrapypi.settings import SETTINGS
from extrapypi.storage import BaseStorage, LocalStorage

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ((LocalStorage, "configuration.rst"), (S3Storage, "object-store.rst"))
PARAMETERS = [(page, name) for kind, page in PAGES for name in inspect.signature(kind).parameters]


def build(builder: str, folder: Path) -> None:
    """Makes the documentation with the builder, in a process of its own; a warning fails."""
    options = ("-W", "--keep-going", "-q", "-b", builder)
    variables = {name: text for name, text in os.environ.items() if "EXTRAPYPI" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, DOCS, folder],
        cwd=folder.parent,  # not the checkout, whose modules are no modules of Sphinx's
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def described(tmp_path_factory) -> dict[str, set[str]]:
    """What the pages describe, as others may refer to it: names by their kind."""
    folder = tmp_path_factory.mktemp("docs") / "html"
    build("html", folder)
    with (folder / "objects.inv").open("rb") as stream:
        found = InventoryFile.load(stream, "", lambda base, place: place)
    return {kind: set(names) for kind, names in found.items()}


def words(command) -> set[str]:
    """The options and arguments of a command, as its page calls them."""
    found = set()
    for names, options in command.arguments:
        choices = "{" + ",".join(options.get("choices") or ()) + "}"
        found.update(names if names[0].startswith("-") else [options.get("metavar", choices)])
    return found


def test_it_builds_without_a_warning_and_has_every_setting(described):
    assert described["std:confval"] == set(SETTINGS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.words)
def test_it_has_every_command_with_its_options(described, command):
    name = command.words.replace(" ", "-")
    assert f"command-{name}" in described["std:label"]
    start = f"extrapypi-{name}."
    options = {option for option in described.get("std:cmdoption", ()) if option.startswith(start)}
    assert options == {start + word for word in words(command)}


@pytest.mark.parametrize(("page", "name"), PARAMETERS)
def test_it_has_every_parameter_of_the_storages(page, name):
    assert f"``{name}``" in (DOCS / page).read_text(encoding="utf-8")


def test_it_has_every_method_of_a_driver(described):
    methods = {name for name, value in vars(BaseStorage).items() if inspect.isfunction(value)}
    place = "extrapypi.storage.BaseStorage"
    public = {f"{place}.{name}" for name in methods if not name.startswith("_")}
    assert public <= described["py:method"]


def test_it_names_what_a_driver_defines():
    methods = [
        (name, inspect.getsource(it)) for name, it in vars(BaseStorage).items() if callable(it)
    ]
    page = (DOCS / "storage-drivers.rst").read_text()
    text = page[page.index("It defines ") : page.index("the others may stay as they are")]
    needed = {name for name, source in methods if "raise NotImplementedError" in source}
    assert set(re.findall("``(.+?)``", text)) == needed


def test_its_examples_do_what_they_show(tmp_path):
    build("doctest", tmp_path / "doctest")

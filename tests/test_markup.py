"""What a description reaches while it is rendered: no file, no program but our own."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from clients import CHECKOUT, isolated

from extrapypi import markup, rendering

EVERY_DIRECTIVE = """\
import json, sys
from importlib import import_module
from docutils.parsers.rst import directives
from extrapypi import markup

secret, module = sys.argv[1:]
reached, text = [], ""

def watch(event, arguments):
    if event == "open" and str(arguments[0]) == secret:
        reached.append(text)

sys.addaudithook(watch)
number = 0
for name, (place, kind) in directives._directive_registry.items():
    directive = getattr(import_module(f"docutils.parsers.rst.directives.{place}"), kind)
    options = getattr(directive, "option_spec", None) or ()
    values = (secret, module, "embed")
    lines = ["", *(f"   :{option}: {value}\\n" for option in options for value in values)]
    for line in lines:
        text = f".. {name}:: {secret}?.png\\n{line}\\n   x\\n"
        number += markup.html_of(text, "text/x-rst", False) is not None
        if sys.modules.pop(module, None):
            reached.append(text)
json.dump([number, reached], sys.stdout)
"""


def test_no_directive_of_docutils_reads_a_file_or_loads_a_module(tmp_path):
    secret = tmp_path / "config.py"
    secret.write_text("SECRET_KEY = 'a key'\n")
    command = [sys.executable, "-c", EVERY_DIRECTIVE, str(secret), "tabnanny"]
    environment = {**isolated(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    number, reached = json.loads(done.stdout)
    assert number > 300
    assert reached == []


@pytest.mark.parametrize("directive", [".. image::", ".. figure::", "|a|\n\n.. |a| image::"])
@pytest.mark.parametrize("address", ["{}?.png", f"{'../' * 30}{{}}?.webp", "{}?.svg"])
def test_no_file_of_the_server_is_shown_as_an_image(tmp_path, directive, address):
    secret = tmp_path / "config.py"
    secret.write_text("SECRET_KEY = 'a key'\n")
    text = f"{directive} {address.format(secret)}\n   :loading: embed\n"
    made, fault = markup.html_of(text, "text/x-rst", False)
    assert fault is None
    assert base64.b64encode(secret.read_bytes()).decode() not in made
    assert "<img" not in made


def test_no_module_is_loaded_as_a_parser():
    text = ".. include:: x\n   :parser: this\n"  # which prints a poem
    made, fault = rendering.render(text, "text/x-rst")
    assert (made, "disabled" in fault) == (markup.plain(text), True)

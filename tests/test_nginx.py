"""nginx in front, configured as the README has it: what it sends in our place is as safe."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import urllib.request

import pytest
from archives_made import wheel_bytes
from clients import CHECKOUT, Index

NAME, BODY = wheel_bytes()
PROGRAM = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
AROUND = """\
user root;
pid {folder}/nginx.pid;
error_log {folder}/errors warn;
events {{}}
http {{
    access_log off;
    types {{ text/html html whl; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


@pytest.fixture
def index(tmp_path):
    """A running index with a wheel, whose files nginx is to send."""
    index = Index(tmp_path, "SENDFILE, TRUSTED_PROXY = 'nginx', '127.0.0.1'")
    index.add("demo-pkg")
    yield index
    assert index.stop() == 0


@pytest.fixture
def front(tmp_path, index):
    """The index again, behind nginx."""
    if PROGRAM is None and not os.environ.get("CI"):
        pytest.skip("nginx is not installed (see the README)")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (server,) = re.findall(r"```nginx\n(.*?)```", readme, re.DOTALL)
    for ours, here in (
        ("443 ssl", f"127.0.0.1:{port}"),
        ("http://127.0.0.1:8000", index.url),
        ("/srv/pypi/packages/", f"{index.folder}/packages/"),
    ):
        assert server.count(ours) == 1
        server = server.replace(ours, here)
    config = tmp_path / "nginx.conf"
    config.write_text(AROUND.format(folder=tmp_path, server=server))
    nginx = [str(PROGRAM), "-e", str(tmp_path / "errors"), "-c", str(config)]
    subprocess.run(nginx, check=True)  # when it has come back, it listens
    yield f"http://127.0.0.1:{port}"
    subprocess.run([*nginx, "-s", "quit"], check=True)


def test_a_file_that_nginx_sends_keeps_its_type_and_is_not_taken_for_a_page(index, front):
    for place in ("packages", "simple"):
        request = index._request(f"/{place}/demo-pkg/{NAME}")
        request.full_url = request.full_url.replace(index.url, front)
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == BODY
            assert answer.headers["Server"].startswith("nginx")
            assert answer.headers["Accept-Ranges"] == "bytes"  # by nginx, from the disk
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"

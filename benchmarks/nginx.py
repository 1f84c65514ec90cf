"""nginx with an index as files: the pages and distributions that another server has answered."""

from __future__ import annotations

import base64
import json
import os
import shutil
import urllib.request
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from peers import ACCOUNT, Peer, write_passwords
from processes import Address, free_port
from rows import Projects

JSON = "application/vnd.pypi.simple.v1+json"
CONFIG = """\
daemon off;
user root;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    types {{ application/vnd.pypi.simple.v1+json json; }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        index index.json;
        auth_basic index;
        auth_basic_user_file {folder}/passwords;
    }}
}}
"""


class Nginx(Peer):
    """nginx, whose pages are JSON files: what pip and uv ask for."""

    NAME = "static pages behind nginx"
    READER = ACCOUNT

    def prepare(self, folder: Path, projects: Projects) -> None:
        """The projects come with :func:`copy`."""
        write_passwords(folder / "passwords", ACCOUNT)

    def command(self, folder: Path, port: int) -> list[str]:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            raise RuntimeError("nginx is not installed (apt-get install nginx-light)")
        config = folder / "nginx.conf"
        config.write_text(CONFIG.format(folder=folder, port=port))
        return [program, "-e", "stderr", "-p", str(folder), "-c", str(config)]

    def port(self) -> int:
        return free_port()


def copy(source: Address, names: list[str], folder: Path) -> None:
    """Lays the projects of a running index into the prepared folder, files and metadata too."""
    for name in names:
        page = f"http://{source[0]}:{source[1]}/simple/{name}/"
        text = fetched(page)
        save(folder, f"/simple/{name}/index.json", text)
        for file in json.loads(text)["files"]:
            url = urljoin(page, file["url"])
            for each in (url, f"{url}.metadata"):
                save(folder, urlsplit(each).path, fetched(each))


def fetched(url: str) -> bytes:
    """What the index answers."""
    secret = base64.b64encode(ACCOUNT.encode()).decode()
    headers = {"Authorization": f"Basic {secret}", "Accept": JSON}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read()


def save(folder: Path, path: str, content: bytes) -> None:
    """A file of the site."""
    place = folder / "files" / path.strip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)

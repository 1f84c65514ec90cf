"""An index as a small team has it after half a year: for tests in a browser, and screenshots.

All is the same each time, but for the times, which are counted back from the day of the filling.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from archives_made import sdist_bytes, wheel_bytes
from peewee import chunked

from extrapypi import accounts, distributions, packages, publishing, sessions
from extrapypi.auth import Actor
from extrapypi.database import database, utcnow
from extrapypi.models import Download, File, Journal, Package, Release, Session, Token, User
from extrapypi.storage import BaseStorage

READMES = Path(__file__).parent / "readmes"
CONTENT_TYPES = {".md": "text/markdown", ".rst": "text/x-rst"}
PEOPLE = {  # user name -> role
    "ada": "admin",
    "bruno": "developer",
    "chiara": "maintainer",
    "deniz": "installer",
    "emil": "developer",  # has left
}
ADDRESSES = {
    "ada": "10.20.0.11",
    "bruno": "10.20.0.14",
    "chiara": "10.20.0.23",
    "emil": "10.20.0.17",
}
AGENTS = {
    "ada": "twine/7.0.0 CPython/3.13.1",
    "bruno": 'uv/0.13.9 {"installer":{"name":"uv","version":"0.13.9"}}',
    "chiara": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "emil": "twine/6.1.0 CPython/3.12.4",
}
BROWSERS = (
    AGENTS["chiara"],
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
)
CI = "CI of forecast"  # a token of Bruno's
PURE = ["py3-none-any"]
ABI3 = [f"cp310-abi3-{platform}" for platform in ("manylinux_2_28_x86_64", "musllinux_1_2_x86_64")]
MATRIX = [
    f"{python}-{python}-{platform}"
    for python in ("cp311", "cp312", "cp313")
    for platform in ("manylinux_2_28_x86_64", "macosx_11_0_arm64", "win_amd64")
]
CLIENTS = {"uv": 8, "pip": 5, "poetry": 2, "browser": 1}  # and how often each comes


class Project(NamedTuple):
    """What all releases of a project have in common."""

    summary: str
    keywords: str = ""
    header: str = ""  # more lines of the metadata
    popularity: int = 1  # downloads of a file and day, about


class Publication(NamedTuple):
    """A release, when and by whom it was published."""

    days: int  # ago
    who: str
    project: str
    version: str
    requires: tuple[str, ...] = ()
    tags: list[str] = PURE
    has_sdist: bool = True
    kilobytes: int = 30  # of each file


MIT = "License-Expression: MIT\n"
PROJECTS = {
    "tidewater": Project(
        "Readings of tide gauges as tables, with gaps filled and units kept",
        "tides,gauges,time series,hydrography",
        f"""{MIT}Author-email: Ada Brandt <ada@example.org>
Project-URL: Source, https://git.example.org/tidewater
Project-URL: Documentation, https://docs.example.org/tidewater/
Project-URL: Changelog, https://git.example.org/tidewater/changes
Classifier: Development Status :: 5 - Production/Stable
Classifier: Intended Audience :: Science/Research
Classifier: Programming Language :: Python :: 3
Classifier: Topic :: Scientific/Engineering :: Hydrology
Provides-Extra: plot
""",
        popularity=9,
    ),
    "tidewater-cli": Project(
        "The command tide: fetch, check and plot readings", "tides,command line", MIT, 3
    ),
    "gauge-protocol": Project(
        "The serial protocol of our gauges, read in C",
        "serial,gauges,protocol",
        "License-Expression: BSD-3-Clause\nHome-page: https://git.example.org/gauge\n",
        4,
    ),
    "forecast": Project(
        "Water levels for the next 48 hours, from readings and wind",
        "tides,forecast,wind",
        "License: Only for us.\nClassifier: Private :: Do Not Upload\n",
        5,
    ),
    "old-forecast": Project("Water levels by harmonic constants, as until 2024", "tides,forecast"),
    "Harbour.Auth": Project("Log in to our services with the harbour's accounts", "", MIT, 6),
    "harbour-settings": Project("One place for the settings of all our services", "", MIT, 8),
    "harbour-logging": Project("Log lines as JSON, with the vessel and the berth", "", MIT, 2),
    "chart-tiles": Project("Sea charts as map tiles, cut on demand", "maps,tiles", MIT),
    "nightly-probe": Project("Checks every night that all gauges answer", "", MIT),
    "berth-planner": Project("Which ship lies where, and until when", "", MIT, 2),
    "invoice-export": Project("Harbour dues as files for the accountants", "", MIT),
    "free-trial-helper": Project("Helps you with your free trial", popularity=0),
}
TIDE_NEEDS = ("numpy>=1.26", "pandas>=2.1", 'matplotlib>=3.8; extra == "plot"')
PUBLICATIONS = (
    Publication(181, "emil", "old-forecast", "0.9", ("numpy>=1.20",)),
    Publication(178, "ada", "tidewater", "1.0.0", ("numpy>=1.24",)),
    Publication(176, "emil", "harbour-logging", "1.0", ("orjson>=3",), has_sdist=False),
    Publication(171, "ada", "gauge-protocol", "0.8", (), ABI3, kilobytes=90),
    Publication(160, "bruno", "harbour-settings", "2.0", ("tomli>=2; python_version < '3.11'",)),
    Publication(149, "ada", "tidewater", "1.1.0", ("numpy>=1.24", "gauge-protocol>=0.8")),
    Publication(147, "bruno", "tidewater-cli", "0.3", ("tidewater>=1.1", "click>=8.1")),
    Publication(133, "emil", "Harbour.Auth", "3.2.1", ("harbour-settings>=2", "httpx>=0.27")),
    Publication(120, "bruno", "forecast", "3.0", ("tidewater>=1.1,<2", "scipy>=1.11")),
    Publication(98, "ada", "chart-tiles", "1.4", ("pillow>=10",), has_sdist=False, kilobytes=70),
    Publication(91, "ada", "gauge-protocol", "1.0", (), MATRIX, kilobytes=60),
    Publication(77, "bruno", "berth-planner", "2024.9", ("harbour-settings>=2",)),
    Publication(70, "bruno", "harbour-settings", "2.1", ("harbour-logging>=1",)),
    Publication(56, "ada", "tidewater", "1.2.0", (*TIDE_NEEDS, "gauge-protocol>=1.0")),
    Publication(49, "bruno", "forecast", "3.1", ("tidewater>=1.2,<2", "scipy>=1.11")),
    Publication(48, "bruno", "forecast", "3.1.1", ("tidewater>=1.2,<2", "scipy>=1.12")),
    Publication(40, "ada", "invoice-export", "1.0", ("openpyxl>=3.1",), has_sdist=False),
    Publication(24, "bruno", "nightly-probe", "0.4.dev20", ("gauge-protocol>=1",)),
    Publication(20, "ada", "gauge-protocol", "1.1", (), MATRIX, kilobytes=62),
    Publication(13, "ada", "tidewater", "1.3.0", (*TIDE_NEEDS, "gauge-protocol>=1.1,<2")),
    Publication(12, "bruno", "tidewater-cli", "0.4", ("tidewater[plot]>=1.2", "click>=8.1")),
    Publication(9, "bruno", "free-trial-helper", "1.0", has_sdist=False),
    Publication(6, "chiara", "invoice-export", "1.1", ("openpyxl>=3.1", "harbour-auth>=3")),
    Publication(4, "bruno", "tidewater-cli", "0.5", ("tidewater[plot]>=1.3", "click>=8.2")),
    Publication(2, "ada", "tidewater", "2.0.0rc1", (*TIDE_NEEDS, "gauge-protocol>=1.1")),
)
CHANGES = {  # days ago -> what a service does to which project, by whom, with what
    172: (packages.set_maintainer, "old-forecast", "ada", ("bruno",)),
    119: (packages.set_status, "old-forecast", "ada", ("deprecated", "Use forecast instead.")),
    97: (packages.set_maintainer, "chart-tiles", "ada", ("chiara",)),
    60: (packages.set_status, "harbour-logging", "ada", ("archived", "The platform logs JSON.")),
    39: (packages.set_maintainer, "tidewater", "ada", ("chiara",)),
    30: (
        packages.yank,
        "chart-tiles",
        "chiara",
        ("1.4", "Tiles are shifted; wait for 1.5."),
    ),
    8: (packages.set_status, "free-trial-helper", "ada", ("quarantined", "It sends mails.")),
    3: (packages.yank, "forecast", "bruno", ("3.1", "Wrong sign of the wind; use 3.1.1.")),
}


def fill(storage: BaseStorage) -> None:
    """Fills an empty index whose tables are there, in the order in which things happened."""
    today = utcnow().replace(hour=0, minute=0, second=0, microsecond=0)
    with at(today - timedelta(days=183)):
        add_people()
    published = {publication.days: publication for publication in PUBLICATIONS}
    for days in sorted({*published, *CHANGES}, reverse=True):
        with at(today - timedelta(days=days) + timedelta(minutes=480 + 37 * days % 540)) as moment:
            if days in published:
                publish(storage, published[days], moment)
            else:
                work, project, who, what = CHANGES[days]
                work(actor(who), project, *what)
    with at(today - timedelta(days=1, hours=-11)):
        accounts.edit_user(actor("ada"), "emil", is_active=False)
        accounts.create_token(actor("deniz"), "deniz", "office PC", "read", days=90)
    add_sessions(today)
    add_downloads(today)


def password(username: str) -> str:
    """What the user logs in with."""
    return f"secret of {username}"


def actor(username: str) -> Actor:
    """The user, at the own desk and with the own tool; Bruno lets CI publish."""
    user = User.named(username)
    token = CI if username == "bruno" else ""
    where = {"address": ADDRESSES.get(username, "10.20.0.30"), "agent": AGENTS.get(username, "")}
    return Actor(user.username, user.role, user_id=user.id, token=token, **where)


@contextmanager
def at(moment: datetime) -> Iterator[datetime]:
    """Lets what is done in the block look as if it was done at that moment."""
    started = utcnow()
    yield moment
    for token in Token.select().where(Token.expires_at.is_null(False), Token.created_at >= started):
        token.expires_at -= started - moment
        token.save(only=["expires_at"])
    for model, field in (
        *((Journal, Journal.at), (User, User.created_at)),
        *((Token, Token.created_at), (Token, Token.revoked_at)),
        *((Package, Package.created_at), (Package, Package.updated_at)),
        *((Release, Release.created_at), (Release, Release.updated_at)),
    ):
        model.update({field: moment}).where(field >= started).execute()


def add_people() -> None:
    """The users, and the tokens that they have had for long."""
    for username, role in PEOPLE.items():
        address = f"{username}@example.org"
        accounts.create_user(Actor(), username, password(username), address, role)
    bruno, ada = actor("bruno"), actor("ada")
    accounts.create_token(bruno, "bruno", CI, "upload", ["forecast", "tidewater-cli"])
    accounts.create_token(ada, "ada", "laptop", "upload", days=365)
    old, _ = accounts.create_token(ada, "ada", "old build server", "upload")
    accounts.create_token(ada, "ada", "dependency bot", "read")
    accounts.create_token(ada, "ada", "CI of tidewater", "upload", ["tidewater"], days=365)
    accounts.revoke_token(ada, old.id)


def publish(storage: BaseStorage, publication: Publication, moment: datetime) -> None:
    """Puts the files of a release on the index."""
    for filename, content in archives(publication):
        incoming = storage.receive()
        try:
            incoming.write(content)
            incoming.finish()
            distribution = distributions.read(BytesIO(content), filename)
            publishing.add_file(storage, actor(publication.who), distribution, incoming, moment)
        finally:
            incoming.discard()


def archives(publication: Publication) -> Iterator[tuple[str, bytes]]:
    """File name and content of each file of a release."""
    project = PROJECTS[publication.project]
    readme = next(READMES.glob(f"{publication.project}.*"), None)
    header = f"Summary: {project.summary}\nKeywords: {project.keywords}\n{project.header}"
    if readme:
        header += f"Description-Content-Type: {CONTENT_TYPES[readme.suffix]}\n"
    metadata = {
        "metadata_version": "2.4",
        "requires_python": ">=3.11" if publication.days < 60 else ">=3.10",
        "requires_dist": publication.requires,
        "metadata_extra": header,
        "description": readme.read_text(encoding="utf-8") if readme else "",
    }
    name, version = publication.project, publication.version
    chance = random.Random(f"{name} {version}")
    for tag in publication.tags:
        size = round(publication.kilobytes * chance.uniform(800, 1200))
        files = {"data.bin": chance.randbytes(size)}
        yield wheel_bytes(name, version, tag=tag, files=files, **metadata)
    if publication.has_sdist:
        yield sdist_bytes(name, version, files={"data.bin": chance.randbytes(20_000)}, **metadata)


def add_sessions(today: datetime) -> None:
    """Two more browsers of Ada's, and when people and tokens were last seen."""
    for number, agent in enumerate(BROWSERS):
        environ = {"HTTP_USER_AGENT": agent, "REMOTE_ADDR": f"10.20.0.{11 + 80 * number}"}
        sessions.start(User.named("ada"), 25 * 86400, environ)
    seen = today - timedelta(hours=7)
    Session.update(created_at=seen - timedelta(days=4), last_seen_at=seen).execute()
    User.update(last_login_at=seen).where(User.is_active, User.role != "installer").execute()
    used = {"last_used_at": seen, "last_used_from": "10.20.0.40"}
    Token.update(**used).where(Token.name.startswith("CI")).execute()


def add_downloads(today: datetime) -> None:
    """What was downloaded since each file came, fewer of older ones and at weekends."""
    chance = random.Random("downloads")
    rows = []
    files = list(File.select(File, Release, Package).join(Release).join(Package))
    of_release = Counter(file.release_id for file in files)
    for file in files:
        popularity = PROJECTS[file.release.package.name].popularity / of_release[file.release_id]
        if file.release_id != file.release.package.latest_release_id:
            popularity /= 6
        for days in range(1, (today - file.upload_time).days + 1):
            day = (today - timedelta(days=days)).date()
            for name, often in CLIENTS.items():
                most = popularity * often * (0.3 if day.weekday() > 4 else 1)
                if number := round(chance.uniform(0, most)):
                    rows.append({"file": file.id, "day": day, "client": name, "number": number})
    with database.atomic():
        for batch in chunked(rows, 200):
            Download.insert_many(batch).execute()

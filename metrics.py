"""What the index did since it started, in numbers, for Prometheus.

A request adds one to a row of its own table here, which costs less than the library's objects
would; they are made when somebody asks. Every process has its own numbers.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

from extrapypi import __version__
from extrapypi.errors import NotFound
from extrapypi.pages import KeptPages
from extrapypi.storage import BaseStorage

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
KINDS = {  # the first part of a path -> what it is asked for
    "simple": "index",
    "pypi": "json",
    "dashboard": "dashboard",
    "user": "dashboard",
    "ping": "health",
    "health": "health",
    "metrics": "metrics",
    "legacy": "legacy",
    "project": "legacy",
}
STORAGE_WORK = (
    *("prepare", "create_release", "delete_file", "get_file", "get_url", "get_metadata"),
    *("has", "has_metadata", "ping"),
)


class Timer:
    """How often something was done, and for how many seconds in all."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.seconds = 0.0

    def around(self, work: Callable) -> Callable:
        """The same function, timed, also when it fails."""

        @functools.wraps(work)
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                seconds = time.perf_counter() - began
                with self.lock:
                    self.count += 1
                    self.seconds += seconds

        return timed


class Metrics:
    """The numbers of one application."""

    def __init__(self, pages: KeptPages, storage: BaseStorage, database: Any, static: str) -> None:
        self.pages = pages
        self.kinds = {**KINDS, static.split("/")[1]: "static"}
        self.lock = threading.Lock()
        # (kind, status) -> requests in each bucket and above all of them, and their seconds.
        self.requests: dict[tuple[str, str], list] = {}
        self.downloads = 0
        self.started = time.time()
        self.database = Timer()
        self.storage = {name: Timer() for name in STORAGE_WORK}
        database.execute_sql = self.database.around(database.execute_sql)
        for name, timer in self.storage.items():
            setattr(storage, name, timer.around(getattr(storage, name)))

    def note(self, method: str, path: str, status: str, seconds: float) -> None:
        """Counts a request that is answered now."""
        key = self.kind(method, path), status[:3]
        with self.lock:
            row = self.requests.get(key)
            if row is None:
                row = self.requests[key] = [0] * (len(BUCKETS) + 1) + [0.0]
            row[bisect_left(BUCKETS, seconds)] += 1
            row[-1] += seconds

    def note_download(self) -> None:
        """Counts a file that goes out now."""
        with self.lock:
            self.downloads += 1

    def kind(self, method: str, path: str) -> str:
        """What a request is for: one of a few words, so that nobody can make more of them."""
        first = path[1:].partition("/")[0]
        if method == "POST" and (first in ("simple", "legacy") or path == "/dashboard/upload/"):
            return "upload"
        if first == "packages" or (first == "simple" and path.count("/") == 3 and path[-1] != "/"):
            return "metadata" if path.endswith(".metadata") else "file"
        return self.kinds.get(first, "other")

    def text(self) -> bytes:
        """All of them, as Prometheus reads them.

        :raises NotFound: when its library is not installed.
        """
        if importlib.util.find_spec("prometheus_client") is None:
            raise NotFound("/metrics needs prometheus-client; install extrapypi[metrics].")
        from prometheus_client.exposition import generate_latest

        return generate_latest(self)

    def collect(self) -> Iterator[Any]:
        """The library's objects with the numbers of now."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
            InfoMetricFamily,
        )

        def counter(name: str, text: str, value: float | None = None, labels: Any = None) -> Any:
            return CounterMetricFamily(f"extrapypi_{name}", text, value, labels)

        def gauge(name: str, text: str, value: float) -> Any:
            return GaugeMetricFamily(f"extrapypi_{name}", text, value)

        with self.lock:
            rows, downloads = {key: list(row) for key, row in self.requests.items()}, self.downloads
        yield InfoMetricFamily("extrapypi", "The program.", {"version": __version__})
        yield gauge("start_time_seconds", "When this process began to count.", self.started)
        requests = counter("requests", "Requests answered.", labels=["kind", "status"])
        for key, row in sorted(rows.items()):
            requests.add_metric(key, sum(row[:-1]))
        yield requests
        seconds = HistogramMetricFamily(
            "extrapypi_request_seconds", "Time until an answer begins.", labels=["kind"]
        )
        for kind in sorted({kind for kind, _ in rows}):
            seconds.add_metric([kind], *summed([rows[key] for key in rows if key[0] == kind]))
        yield seconds
        yield counter("downloads", "Files that went out from their first byte on.", downloads)
        uploads = rows.get(("upload", "200"), [0])
        yield counter("uploads", "Uploads that were taken.", sum(uploads[:-1]))
        yield gauge("kept_pages", "Index pages in memory.", len(self.pages.pages))
        yield gauge("kept_pages_bytes", "Their size.", self.pages.size)
        yield counter("database_statements", "Statements.", self.database.count)
        yield counter("database_seconds", "Time until they were answered.", self.database.seconds)
        calls = counter("storage_calls", "Uses of the storage.", labels=["operation"])
        took = counter("storage_seconds", "Time until they were done.", labels=["operation"])
        for name, timer in self.storage.items():
            calls.add_metric([name], timer.count)
            took.add_metric([name], timer.seconds)
        yield calls
        yield took


def summed(rows: list[list]) -> tuple[list[tuple[str, float]], float]:
    """The buckets of a histogram, each with all below it, and the seconds of all."""
    columns = [sum(column) for column in zip(*rows, strict=True)]
    bounds = [*map(str, BUCKETS), "+Inf"]
    buckets = [(bound, sum(columns[: place + 1])) for place, bound in enumerate(bounds)]
    return buckets, columns[-1]

"""The handler of the access log: every line, once, in order, though it writes them together."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from datetime import datetime, timezone

import pytest
import webtest
from clients import CHECKOUT, isolated
from conftest import USERS, as_user, at_once

from extrapypi.accesslog import REQUEST, RequestID, TogetherHandler
from extrapypi.app import create_app

LINES = [f"line {number}" for number in range(1000)]
PROGRAM = """
import logging.config, sys, threading
from extrapypi.settings import LOGGING_CONFIG

LOGGING_CONFIG["formatters"]["default"]["format"] = "%(message)s"
logging.config.dictConfig(LOGGING_CONFIG)
log = logging.getLogger("extrapypi.access")
"""
WRITES = """
for number in range(1000):
    log.info("line %d", number)
"""
ENDS = {
    "by itself": (WRITES, 0),
    "with a status": (f"{WRITES}sys.exit(3)", 3),
    "in another thread": (
        f"def work():{WRITES.replace(chr(10), chr(10) + ' ')}\n"
        "threading.Thread(target=work).start()",
        0,
    ),
    "configured anew": (f"{WRITES}logging.config.dictConfig(LOGGING_CONFIG)", 0),
    "without threads": (f"threading.stack_size(1 << 46)\n{WRITES}", 0),
}


def make(stream) -> tuple[TogetherHandler, logging.Logger]:
    """A handler that writes to the stream, and a logger that has no other one."""
    handler = TogetherHandler(stream)
    logger = logging.Logger("test", logging.INFO)
    logger.addHandler(handler)
    return handler, logger


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_lost_when_the_program_ends(end, tmp_path):
    code, status = ENDS[end]
    environment = {**isolated(tmp_path), "PYTHONPATH": str(CHECKOUT)}
    program = [sys.executable, "-c", PROGRAM + code]
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.stderr.splitlines() == LINES
    assert done.returncode == status


def test_lines_of_a_program_that_goes_on_are_written_too():
    class Stream(io.StringIO):
        def flush(self):
            written.set()

    written = threading.Event()
    _, logger = make(stream := Stream())
    for text in ("one", "two"):  # so that the second has a timer, too
        logger.info(text)
        assert written.wait(30)
        written.clear()
    assert stream.getvalue() == "one\ntwo\n"


def test_lines_are_written_together():
    class Stream(io.StringIO):
        def write(self, text):
            writes.append(text)

    writes: list[str] = []
    handler, logger = make(Stream())
    for line in LINES[:10]:
        logger.info(line)
    handler.flush()
    assert "".join(writes) == "".join(f"{line}\n" for line in LINES[:10])
    assert len(writes) <= 2  # a timer may have been quicker


def test_lines_of_many_threads_are_there_once_and_in_order():
    handler, logger = make(stream := io.StringIO())

    def work(number: int) -> None:
        for count in range(500):
            logger.info("%d %d", number, count)
            if count % 100 == number:
                handler.flush()

    at_once(8, work)
    handler.flush()
    lines = [tuple(map(int, line.split())) for line in stream.getvalue().splitlines()]
    assert sorted(lines) == [(number, count) for number in range(8) for count in range(500)]
    for number in range(8):
        assert [count for each, count in lines if each == number] == list(range(500))


def test_a_stream_that_breaks_is_said_and_stops_nobody(capsys):
    class Stream(io.StringIO):
        broken = True

        def write(self, text):
            if self.broken:
                raise OSError("No space left on device")
            return super().write(text)

    handler, logger = make(stream := Stream())
    logger.info("lost")
    handler.flush()
    assert "No space left on device" in capsys.readouterr().err
    stream.broken = False
    logger.info("kept")
    handler.flush()
    assert stream.getvalue() == "kept\n"


def test_a_line_that_cannot_be_made_takes_no_others_with_it(capsys):
    handler, logger = make(stream := io.StringIO())
    logger.info("before")
    logger.info("%d", "no number")
    logger.info("after")
    handler.flush()
    assert stream.getvalue() == "before\nafter\n"
    assert "no number" in capsys.readouterr().err


def test_a_closed_stream_is_no_news_when_there_is_nothing_to_write(capsys):
    handler, logger = make(stream := io.StringIO())
    logger.info("written")
    handler.flush()
    stream.close()
    handler.flush()
    assert capsys.readouterr().err == ""


def test_filters_levels_and_formatters_work_as_with_other_handlers():
    handler, logger = make(stream := io.StringIO())
    handler.addFilter(lambda record: "/ping" not in record.getMessage())
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.terminator = "|"
    logger.setLevel(logging.DEBUG)
    for path in ("/simple/", "/ping", "/health"):
        logger.info("GET %s", path)
    logger.debug("below")
    handler.flush()
    assert stream.getvalue() == "INFO GET /simple/|INFO GET /health|"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="filters only choose before Python 3.12")
def test_a_filter_may_put_another_record_in_place():
    handler, logger = make(stream := io.StringIO())
    handler.addFilter(lambda record: logging.makeLogRecord({**vars(record), "msg": "another"}))
    logger.info("one")
    handler.flush()
    assert stream.getvalue() == "another\n"


def logged_as_json(settings: dict) -> dict:
    """The same settings with JSON lines in the log."""
    as_json = {"default": {"()": "extrapypi.accesslog.JSONFormatter"}}
    return {**settings, "LOGGING_CONFIG": {**settings["LOGGING_CONFIG"], "formatters": as_json}}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_line_of_the_access_log_is_one_object(settings, tables, log):
    app = create_app(logged_as_json(settings))
    client = as_user(app, "installer", USERS["installer"])
    page = client.get("/simple/", headers={"User-Agent": "pip/26"})
    nobody = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    missing = nobody.get("/x%0a%22%c3%a9", headers={"User-Agent": "a\x1bb"}, status=404)
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert 0 <= first.pop("milliseconds") < 30_000
    assert datetime.now(timezone.utc) >= datetime.fromisoformat(first.pop("time"))
    assert first == {
        **{"level": "INFO", "logger": "extrapypi.access", "message": "GET /simple/ 200"},
        **{"address": "127.0.0.1", "user": "installer", "method": "GET", "path": "/simple/"},
        **{"status": 200, "bytes": page.content_length, "agent": "pip/26"},
        "request_id": page.headers["X-Request-ID"],
    }
    assert (second["user"], second["status"], second["agent"]) == (None, 404, "a?b")
    assert second["request_id"] == missing.headers["X-Request-ID"]
    app.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_all_other_lines_are_objects_too_with_the_request_that_they_are_about(
    settings, tables, log, monkeypatch
):
    app = create_app(logged_as_json(settings))
    monkeypatch.setattr(app.site.authenticator, "actor", None)
    client = webtest.TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    answer = client.get("/simple/", status=500)
    logging.getLogger("extrapypi").error("two\nlines of %s", "\u00e9\ud800")
    try:
        raise ValueError("a reason")
    except ValueError:
        logging.getLogger("extrapypi").exception("It failed")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    trace, access, beside, failed = (lines[0], *lines[-3:])
    assert "TypeError" in trace["message"]
    assert trace["request_id"] == access["request_id"] == answer.headers["X-Request-ID"]
    assert (beside["message"], beside["request_id"]) == ("two\nlines of \u00e9\ud800", None)
    assert "ValueError: a reason" in failed["exception"]
    app.close()


def test_the_filter_gives_the_id_to_lines_of_any_format():
    record = logging.makeLogRecord({"msg": "x"})
    token = REQUEST.set("7")
    assert RequestID().filter(record)
    REQUEST.reset(token)
    assert logging.Formatter("%(request_id)s %(message)s").format(record) == "7 x"
    assert RequestID().filter(logging.makeLogRecord({}))

"""Logs: one form for every line, and no word from those who would say too much."""

import json
import logging

import pytest
import structlog

from app.logs import TALKATIVE
from tests.examples import CANARY
from tests.logged import everything_logged


def lines(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.splitlines()]


def test_a_line_is_json_with_time_level_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"):
        structlog.get_logger("app.test").info("target_settled", target="slack-1", attempts=2)
    (line,) = lines(capsys.readouterr().err)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "event": "target_settled",
        "target": "slack-1",
        "attempts": 2,
        "level": "info",
        "logger": "app.test",
    }


def test_what_libraries_log_takes_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"):
        logging.getLogger("uvicorn.error").warning("Shutting %s", "down")
    (line,) = lines(capsys.readouterr().err)
    assert (line["event"], line["level"], line["logger"]) == ("Shutting down", "warning", "uvicorn.error")
    assert "timestamp" in line


def test_a_line_stays_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"):
        structlog.get_logger("app.test").info(
            "a\nb\r\nc", team='"}\n{"event": "forged"}', odd="\u2028\x1b[31m"
        )
    (line,) = lines(capsys.readouterr().err)
    assert line["event"] == "a\nb\r\nc"


def test_an_exception_stands_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"):
        try:
            int("x")
        except ValueError:
            structlog.get_logger("app.test").exception("crashed")
            logging.getLogger("foreign").exception("crashed too")
    ours, theirs = lines(capsys.readouterr().err)
    assert "ValueError" in str(ours["exception"])
    assert "ValueError" in str(theirs["exception"])


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("DEBUG", ["debug", "info", "warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("ERROR", ["error"]),
        ("CRITICAL", []),
    ],
)
def test_the_level_holds_for_our_lines_and_for_others(
    level: str, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with everything_logged(level):
        for log in (structlog.get_logger("app.test"), logging.getLogger("foreign")):
            for word in ("debug", "info", "warning", "error"):
                getattr(log, word)("said")
    said = lines(capsys.readouterr().err)
    assert [line["level"] for line in said if line["logger"] == "app.test"] == told
    assert [line["level"] for line in said if line["logger"] == "foreign"] == told


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
@pytest.mark.parametrize(
    "name", [*TALKATIVE, "kubernetes_asyncio.client.rest", "aiohttp.client", "httpcore.x"]
)
def test_those_who_log_urls_and_bodies_are_silent_at_every_level(name: str, level: str) -> None:
    with everything_logged(level) as logged:
        logging.getLogger(name).debug("response body: %s", CANARY)
        logging.getLogger(name).info("POST https://hooks.example.com/%s", CANARY)
        logging.getLogger(name).warning("cannot go on")
    assert CANARY not in logged.text
    assert "cannot go on" in logged.text


def test_those_who_talk_are_no_louder_than_the_rest() -> None:
    with everything_logged("ERROR") as logged:
        logging.getLogger("httpx").warning("cannot go on")
    assert logged.lines == []


def test_a_person_may_read_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO", "console"):
        structlog.get_logger("app.test").info("target_settled", target="slack-1")
        logging.getLogger("foreign").info("Started")
    ours, theirs = capsys.readouterr().err.splitlines()
    assert "target_settled" in ours
    assert "target=slack-1" in ours
    assert "Started" in theirs
    assert "\x1b" not in ours + theirs, "no colours where nobody looks at a terminal"


def test_configuring_twice_does_not_say_everything_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"), everything_logged("INFO"):
        structlog.get_logger("app.test").info("once")
    assert len(lines(capsys.readouterr().err)) == 1

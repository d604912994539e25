"""Logs: one format for every line, and no line of libraries that log secrets."""

import asyncio
import gc
import io
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import structlog

from app.domain.errors import ApiUnavailable
from app.telemetry.logs import TALKATIVE, note_loop_error
from tests import canaries
from tests.canaries import assert_absent, secret_url
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


def test_lines_of_libraries_have_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"):
        logging.getLogger("uvicorn.error").warning("Shutting %s", "down")
    (line,) = lines(capsys.readouterr().err)
    assert (line["event"], line["level"], line["logger"]) == ("Shutting down", "warning", "uvicorn.error")
    assert "timestamp" in line


def test_any_content_stays_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"):
        structlog.get_logger("app.test").info(
            "a\nb\r\nc", team='"}\n{"event": "forged"}', odd="\u2028\x1b[31m"
        )
    (line,) = lines(capsys.readouterr().err)
    assert line["event"] == "a\nb\r\nc"


@dataclass
class Hiding:
    """An object that hides a part of itself."""

    shown: str
    hidden: str = field(repr=False)


def test_a_value_is_shown_as_python_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"):
        structlog.get_logger("app.test").info("odd", value=Hiding("a", CANARY), many=[1, Hiding("b", CANARY)])
    printed = capsys.readouterr().err
    assert_absent("the log", printed)
    (line,) = lines(printed)
    assert (line["value"], line["many"]) == ("Hiding(shown='a')", [1, "Hiding(shown='b')"])


# ---------------------------------------------------------------------------------------------------------
# Exceptions: their types and places, and no text except our own


def both_logged(error: BaseException, capsys: pytest.CaptureFixture[str], form: str = "json") -> str:
    """Log an exception as we do and as a library does, check that both look alike, and return the output."""
    with everything_logged("DEBUG", form):
        structlog.get_logger("app.test").error("crashed", exc_info=error)
        logging.getLogger("foreign").error("crashed", exc_info=error)
    printed = capsys.readouterr().err
    assert_absent("the log", printed)
    ours, theirs = lines(printed)
    assert ours["exception"] == theirs["exception"]
    return str(ours["exception"])


def caught(raising: Callable[[], object]) -> BaseException:
    """Return the exception that this raises, with its traceback."""
    try:
        raising()
    except BaseException as error:  # noqa: BLE001  # of any class
        return error
    raise AssertionError


def foreign() -> object:
    """Fail like a library that quotes its input."""
    return int(secret_url())


def test_an_exception_is_shown_by_its_type_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    shown = both_logged(caught(foreign), capsys)
    assert shown.endswith("\nbuiltins.ValueError")
    assert f'File "{__file__}", line {foreign.__code__.co_firstlineno + 2}, in foreign' in shown


def test_our_own_error_is_shown_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    shown = both_logged(ApiUnavailable("the Kubernetes API does not answer"), capsys)
    assert shown == "app.domain.errors.ApiUnavailable: the Kubernetes API does not answer"


def test_a_whole_chain_is_shown_starting_with_the_first_cause(capsys: pytest.CaptureFixture[str]) -> None:
    def caused() -> None:
        try:
            foreign()
        except ValueError as error:
            raise ApiUnavailable("away") from error

    def in_context() -> None:
        try:
            caused()
        except ApiUnavailable:
            raise KeyError(secret_url())  # noqa: B904  # Python chains it implicitly

    shown = both_logged(caught(in_context), capsys)
    told = [line for line in shown.splitlines() if line and not line.startswith(" ")]
    assert told == [
        "builtins.ValueError",
        "and then",
        "app.domain.errors.ApiUnavailable: away",
        "and then",
        "builtins.KeyError",
    ]
    assert all(f"in {name}" in shown for name in ("foreign", "caused", "in_context"))


def test_a_suppressed_cause_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def translated() -> None:
        try:
            foreign()
        except ValueError:
            raise ApiUnavailable("away") from None

    assert "ValueError" not in both_logged(caught(translated), capsys)


def test_a_circular_chain_ends(capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three = ValueError(secret_url()), KeyError(secret_url()), ApiUnavailable("away")
    one.__cause__, two.__cause__, three.__context__ = two, three, one
    assert both_logged(one, capsys).splitlines() == [
        "app.domain.errors.ApiUnavailable: away",
        "and then",
        "builtins.KeyError",
        "and then",
        "builtins.ValueError",
    ]
    one.__cause__ = one
    assert both_logged(one, capsys) == "builtins.ValueError"


def test_every_part_of_a_group_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    inner = ExceptionGroup(secret_url(), [OSError(1, secret_url()), ApiUnavailable("away")])
    group = BaseExceptionGroup(secret_url(), [caught(foreign), inner, KeyboardInterrupt(secret_url())])
    told = [line for line in both_logged(group, capsys).splitlines() if not line.startswith(" ")]
    assert told == [
        "builtins.BaseExceptionGroup",
        "builtins.ValueError",
        "builtins.ExceptionGroup",
        "builtins.PermissionError",
        "app.domain.errors.ApiUnavailable: away",
        "builtins.KeyboardInterrupt",
    ]


def test_a_group_that_contains_itself_ends(capsys: pytest.CaptureFixture[str]) -> None:
    part = ValueError(secret_url())
    group = ExceptionGroup(secret_url(), [part])
    part.__context__ = group
    assert both_logged(group, capsys).splitlines() == ["builtins.ExceptionGroup", "builtins.ValueError"]


def test_an_exception_that_cannot_be_printed_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Unwritable(Exception):
        def __str__(self) -> str:
            raise RuntimeError(secret_url())

    assert both_logged(Unwritable(), capsys).endswith("Unwritable")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_way_of_logging_shows_the_text_of_an_exception(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with everything_logged("DEBUG", form):
        for log in (structlog.get_logger("app.test"), logging.getLogger("foreign")):
            try:
                foreign()
            except ValueError as error:
                log.exception("crashed")
                log.warning("crashed", exc_info=True)
                log.warning("crashed", exc_info=error)
                log.warning("crashed", exc_info=(type(error), error, error.__traceback__))
                log.warning("crashed", exc_info=True, stack_info=True)
            log.warning("crashed", exc_info=True)  # noqa: LOG014  # without an exception, this must not fail
    printed = capsys.readouterr().err
    assert printed.count("builtins.ValueError") == 10
    assert printed.count("crashed") >= 12
    assert_absent("the log", printed)


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_unhandled_exception_in_a_loop_is_shown_without_its_values(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail() -> None:
        foreign()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(note_loop_error)
        loop.call_soon(foreign)
        task = loop.create_task(fail(), name=secret_url())
        await asyncio.wait([task])
        del task
        gc.collect()  # an unread exception is logged when it is collected
        loop.call_exception_handler({"message": "something else", "transport": secret_url()})

    with everything_logged("DEBUG", form):
        asyncio.run(main())
    printed = capsys.readouterr().err
    assert printed.count("uncaught_in_event_loop") == 3
    assert printed.count("builtins.ValueError") == 2
    for said in ("Exception in callback foreign", "Task exception was never retrieved", "something else"):
        assert said in printed
    assert_absent("the log", printed)


# ---------------------------------------------------------------------------------------------------------
# Lines of libraries


URLS = [
    ("GET https://hooks.example.com/x?y#z", "GET https://…"),
    ("GET 'https://hooks.example.com/x' failed", "GET 'https://…' failed"),
    ('"http://me:word@h:80/x" failed', '"http://…" failed'),
    ("<https://h/x> and http://h/y", "<https://…> and http://…"),
    ("postgresql+psycopg://u:p@h/x", "postgresql+psycopg://…"),
    ("HTTPS://H/X", "HTTPS://…"),
    ("url=https://h/x,y;z|w", "url=https://…"),
    ("https://h/{x}[y](z)", "https://…"),
    ("a://b://c", "a://…"),
    ("https://h/ü/\u202e/x", "https://…"),
    ("Started server process [7]", "Started server process [7]"),
    ("no scheme: //h/x", "no scheme: //h/x"),
    ("", ""),
]


@pytest.mark.parametrize(("line", "shown"), URLS)
def test_only_the_scheme_of_a_url_in_a_library_s_line_is_shown(
    line: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with everything_logged("INFO"):
        logging.getLogger("foreign").warning(line)
        logging.getLogger("foreign").warning("%s", line)
    assert [said["event"] for said in lines(capsys.readouterr().err)] == [shown, shown]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_url_in_a_library_s_line_is_shown_in_any_form(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("foreign")
    with everything_logged("DEBUG", form):
        log.warning("cannot reach %s", secret_url(user_info=f"{canaries.USER_INFO}@"))
        log.warning("cannot reach %r", [secret_url()])
        log.warning("cannot reach %(url)s", {"url": secret_url()})
        log.warning(OSError(1, secret_url()))
        log.warning("cannot reach it", extra={"url": secret_url()})
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 5
    assert_absent("the log", printed)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_malformed_log_call_of_a_library_does_not_show_its_arguments(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with everything_logged("DEBUG", form) as kept:
        logging.getLogger().removeHandler(kept)  # it cannot store such a line
        logging.getLogger("foreign").warning("%d %s", secret_url())  # noqa: PLE1206  # the mistake under test
        logging.getLogger("foreign").warning("next")
    wrong, following = capsys.readouterr().err.rstrip().rsplit("\n", 1)
    assert "line_not_written" in wrong
    assert f"{__file__}:" in wrong
    assert "next" in following
    assert_absent("stderr", wrong)


def test_a_closed_output_causes_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    with everything_logged("DEBUG") as kept:
        logging.getLogger("foreign").warning("lost")
    assert "lost" in kept.text


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
def test_the_level_applies_to_our_lines_and_to_libraries(
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
def test_libraries_that_log_urls_and_bodies_are_silent_at_every_level(name: str, level: str) -> None:
    with everything_logged(level) as logged:
        logging.getLogger(name).debug("response body: %s", CANARY)
        logging.getLogger(name).info("POST https://hooks.example.com/%s", CANARY)
        logging.getLogger(name).warning("cannot go on")
    assert CANARY not in logged.text
    assert "cannot go on" in logged.text


def test_verbose_libraries_log_no_more_than_the_rest() -> None:
    with everything_logged("ERROR") as logged:
        logging.getLogger("httpx").warning("cannot go on")
    assert logged.lines == []


def test_a_format_for_people_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO", "console"):
        structlog.get_logger("app.test").info("target_settled", target="slack-1")
        logging.getLogger("foreign").info("Started")
    ours, theirs = capsys.readouterr().err.splitlines()
    assert "target_settled" in ours
    assert "target=slack-1" in ours
    assert "Started" in theirs
    assert "\x1b" not in ours + theirs, "no colours outside a terminal"


def test_configuring_twice_does_not_duplicate_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with everything_logged("INFO"), everything_logged("INFO"):
        structlog.get_logger("app.test").info("once")
    assert len(lines(capsys.readouterr().err)) == 1

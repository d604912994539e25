"""Logs: one format for every line, and no line of libraries that log secrets."""

import asyncio
import gc
import io
import json
import logging
import sys
from collections.abc import Callable

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


# ---------------------------------------------------------------------------------------------------------
# Exceptions: their types and places, and no text but our own


def both_logged(error: BaseException, capsys: pytest.CaptureFixture[str], form: str = "json") -> str:
    """Log an exception as we do and as a library does, and return what is shown, which is the same."""
    with everything_logged("DEBUG", form):
        structlog.get_logger("app.test").error("crashed", exc_info=error)
        logging.getLogger("foreign").error("crashed", exc_info=error)
    printed = capsys.readouterr().err
    assert_absent("the log", printed)
    ours, theirs = lines(printed)
    assert ours["exception"] == theirs["exception"]
    return str(ours["exception"])


def caught(raising: Callable[[], object]) -> BaseException:
    """Return what this raises, with its traceback."""
    try:
        raising()
    except BaseException as error:  # noqa: BLE001  # whatever it is
        return error
    raise AssertionError


def foreign() -> object:
    """Fail as a library does that quotes what it was given."""
    return int(secret_url())


def test_an_exception_is_shown_by_its_type_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    shown = both_logged(caught(foreign), capsys)
    assert shown.endswith("\nbuiltins.ValueError")
    assert f'File "{__file__}", line {foreign.__code__.co_firstlineno + 2}, in foreign' in shown


def test_our_own_error_is_shown_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    shown = both_logged(ApiUnavailable("the Kubernetes API does not answer"), capsys)
    assert shown == "app.domain.errors.ApiUnavailable: the Kubernetes API does not answer"


def test_all_of_a_chain_is_shown_the_first_cause_first(capsys: pytest.CaptureFixture[str]) -> None:
    def caused() -> None:
        try:
            foreign()
        except ValueError as error:
            raise ApiUnavailable("away") from error

    def in_context() -> None:
        try:
            caused()
        except ApiUnavailable:
            raise KeyError(secret_url())  # noqa: B904  # Python's own way to chain

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


def test_what_was_hidden_on_purpose_stays_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    def translated() -> None:
        try:
            foreign()
        except ValueError:
            raise ApiUnavailable("away") from None

    assert "ValueError" not in both_logged(caught(translated), capsys)


def test_a_chain_that_is_a_circle_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_group_that_is_its_own_part_has_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    part = ValueError(secret_url())
    group = ExceptionGroup(secret_url(), [part])
    part.__context__ = group
    assert both_logged(group, capsys).splitlines() == ["builtins.ExceptionGroup", "builtins.ValueError"]


def test_an_exception_that_cannot_be_written_is_shown_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Unwritable(Exception):
        def __str__(self) -> str:
            raise RuntimeError(secret_url())

    assert both_logged(Unwritable(), capsys).endswith("Unwritable")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_text_of_an_exception_is_shown_in_any_form_of_logging_it(
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
            log.warning("crashed", exc_info=True)  # noqa: LOG014  # there is none, which is no reason to fail
    printed = capsys.readouterr().err
    assert printed.count("builtins.ValueError") == 10
    assert printed.count("crashed") >= 12
    assert_absent("the log", printed)


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_nobody_caught_in_a_loop_is_shown_without_what_it_holds(
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
        gc.collect()  # what nobody asked for is told when it is forgotten
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
# Libraries' own words


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
def test_of_a_url_in_a_library_s_line_only_the_scheme_is_shown(
    line: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with everything_logged("INFO"):
        logging.getLogger("foreign").warning(line)
        logging.getLogger("foreign").warning("%s", line)
    assert [said["event"] for said in lines(capsys.readouterr().err)] == [shown, shown]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_url_of_a_library_s_is_shown_however_it_is_given(
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
def test_a_line_that_a_library_got_wrong_does_not_show_what_it_was_given(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with everything_logged("DEBUG", form) as kept:
        logging.getLogger().removeHandler(kept)  # it cannot keep such a line
        logging.getLogger("foreign").warning("%d %s", secret_url())  # noqa: PLE1206  # the slip in question
        logging.getLogger("foreign").warning("next")
    wrong, following = capsys.readouterr().err.rstrip().rsplit("\n", 1)
    assert "line_not_written" in wrong
    assert f"{__file__}:" in wrong
    assert "next" in following
    assert_absent("stderr", wrong)


def test_where_nothing_can_be_written_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
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

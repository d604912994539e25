"""What holds for every sender: whatever it meets, none of its secrets comes out."""

import base64
from typing import Any

import httpx
import pytest

from app.envelopes import Verdict
from app.errors import TargetError
from app.reasons import Reason
from app.senders import build_senders
from app.settings import ServiceSettings
from tests.examples import CANARY
from tests.logged import everything_logged
from tests.senders.sending import answer, attempt, faked, outlets

HIDDEN = base64.b64encode(CANARY.encode()).decode()
SENDERS: dict[str, tuple[dict[str, Any], dict[str, str | bytes]]] = {
    "slack": (
        {"type": "slack", "credentialsSecret": "keys"},
        {"slack-webhook-url": f"https://hooks.slack.com/services/{CANARY}"},
    ),
    "webhook": (
        {"type": "webhook", "credentialsSecret": "keys"},
        {
            "url": f"https://hooks.example.com/{CANARY}?q={CANARY}#{CANARY}",
            "authorization": f"Bearer {CANARY}",
            "signing-secret": f"whsec_{HIDDEN}",
        },
    ),
}


async def test_this_suite_knows_every_sender() -> None:
    async with outlets(ServiceSettings.load()) as senders:
        assert set(senders) == set(SENDERS)
    assert callable(build_senders)


ANSWERS: list[Any] = [
    *(
        answer(status, CANARY, x=CANARY, location=f"https://{CANARY}.example")
        for status in (200, 301, 400, 404, 429, 500)
    ),
    answer(503, retry_after=CANARY),
    httpx.ConnectError(f"cannot connect to https://{CANARY}"),
    httpx.ConnectTimeout(CANARY),
    httpx.ReadError(CANARY),
    httpx.RemoteProtocolError(CANARY),
    httpx.UnsupportedProtocol(CANARY),
    httpx.InvalidURL(CANARY),
    ValueError(CANARY),
    UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, CANARY),
    RuntimeError(CANARY),
    OSError(CANARY),
    KeyError(CANARY),
]


def called(met: Any) -> str:
    return str(met.status_code) if isinstance(met, httpx.Response) else type(met).__name__


@pytest.mark.parametrize("met", ANSWERS, ids=called)
@pytest.mark.parametrize("sender", SENDERS)
async def test_no_secret_comes_out_whatever_is_met(sender: str, met: Any) -> None:
    spec, secret = SENDERS[sender]
    with everything_logged("DEBUG") as logged, faked() as router:
        route = router.post(url__regex=f".*{CANARY}.*")
        if isinstance(met, httpx.Response):
            route.mock(return_value=met)
        else:
            route.mock(side_effect=met)
        told = await attempt(spec, secret)
        assert route.called
    assert isinstance(told, Verdict | TargetError)
    assert told.reason in Reason
    shown = f"{told!r} {told.message} {getattr(told, '__cause__', None)!r}"
    for hidden in (CANARY, HIDDEN):
        assert hidden not in shown
        assert hidden not in logged.text


@pytest.mark.parametrize("sender", SENDERS)
async def test_no_secret_comes_out_of_a_secret_that_is_half_wrong(sender: str) -> None:
    spec, secret = SENDERS[sender]
    for key in secret:
        for wrong in (f"{CANARY}\n{CANARY}", f"{CANARY}\x00", f"ü {CANARY}"):
            with everything_logged("DEBUG") as logged, faked() as router:
                told = await attempt(spec, {**secret, key: wrong})
                assert not router.calls
            assert isinstance(told, TargetError)
            assert told.reason is Reason.SECRET_INVALID
            assert CANARY not in f"{told!r} {told.message} {logged.text}"

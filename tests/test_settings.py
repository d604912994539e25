"""Settings: the defaults, the effect of each variable, and which values are rejected."""

import os
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import assume, given
from hypothesis import strategies as st

from app.delivery.dispatcher import CLOCK_STEP
from app.domain.errors import SettingsError
from app.domain.teams import LONGEST_CLAIM
from app.settings import PREFIX, CommonSettings, ServiceSettings, WatcherSettings, misspelt
from tests.examples import CANARY, unhurried

Kind = type[CommonSettings]
BOTH = (ServiceSettings, WatcherSettings)
Env = Callable[..., None]


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Env:
    """Set an environment with only these settings; they are given without their prefix."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)

    def hold(**settings: str) -> None:
        for name, value in settings.items():
            monkeypatch.setenv(PREFIX + name, value)

    return hold


DEFAULTS: list[tuple[Kind, str, Any]] = [
    *((kind, "API_GROUP", "kagents.dev") for kind in BOTH),
    *((kind, "NAMESPACES", ()) for kind in BOTH),
    *((kind, "PHASES", ("Completed",)) for kind in BOTH),
    *((kind, "LOG_LEVEL", "INFO") for kind in BOTH),
    *((kind, "LOG_FORMAT", "json") for kind in BOTH),
    *((kind, "API_TIMEOUT", 10.0) for kind in BOTH),
    (ServiceSettings, "HOST", "127.0.0.1"),
    (ServiceSettings, "PORT", 8080),
    (ServiceSettings, "AUTH", "kubernetes"),
    (ServiceSettings, "AUDIENCE", "agentteam-delivery"),
    (ServiceSettings, "EGRESS_ALLOW", ()),
    (ServiceSettings, "EGRESS_DENY", ()),
    (ServiceSettings, "EGRESS_HTTP", False),
    (ServiceSettings, "EGRESS_CA_FILE", None),
    (ServiceSettings, "EGRESS_PROXY", None),
    (ServiceSettings, "EGRESS_NO_PROXY", ()),
    (ServiceSettings, "SECRET_LABEL", None),
    (ServiceSettings, "SLACK_HOSTS", ("hooks.slack.com", "hooks.slack-gov.com")),
    (ServiceSettings, "ATTEMPTS", 4),
    (ServiceSettings, "ATTEMPT_TIMEOUT", 10.0),
    (ServiceSettings, "TARGET_TIMEOUT", 60.0),
    (ServiceSettings, "BACKOFF_INITIAL", 0.5),
    (ServiceSettings, "RECORD_TIMEOUT", 60.0),
    (ServiceSettings, "MAX_IN_FLIGHT", 200),
    (ServiceSettings, "MAX_TARGETS", 1000),
    (ServiceSettings, "MAX_TAKEOVERS", 10),
    (ServiceSettings, "EVENTS", "problems"),
    (ServiceSettings, "MAX_BODY", 1_048_576),
    (ServiceSettings, "MAX_RESPONSE", 8_192),
    (ServiceSettings, "MAX_TARGETS_IN_FLIGHT", 4000),
    (ServiceSettings, "MAX_CONNECTIONS_PER_HOST", 100),
    (WatcherSettings, "MAX_AGE", 86_400.0),
    (WatcherSettings, "TOKEN_FILE", None),
    (WatcherSettings, "RESYNC", 300.0),
    (WatcherSettings, "WATCH_PORT", 8081),
]


@pytest.mark.parametrize("kind", BOTH)
def test_an_unset_setting_has_its_default(env: Env, kind: Kind) -> None:
    unset = kind.load()
    for of, name, value in DEFAULTS:
        assert of is not kind or getattr(unset, name.lower()) == value, name


def test_the_watcher_s_default_is_the_service_in_its_pod(env: Env) -> None:
    assert str(WatcherSettings.load().url) == "http://127.0.0.1:8080/"


MADE: list[tuple[Kind, str, str, Any]] = [
    *((kind, "API_GROUP", "claude.amcheste.io", "claude.amcheste.io") for kind in BOTH),
    *((kind, "NAMESPACES", "research", ("research",)) for kind in BOTH),
    *((kind, "NAMESPACES", " a, b ,,c, ", ("a", "b", "c")) for kind in BOTH),
    *((kind, "NAMESPACES", "", ()) for kind in BOTH),
    *((kind, "PHASES", "Completed,Failed", ("Completed", "Failed")) for kind in BOTH),
    *((kind, "LOG_LEVEL", "DEBUG", "DEBUG") for kind in BOTH),
    *((kind, "LOG_FORMAT", "console", "console") for kind in BOTH),
    *((kind, "API_TIMEOUT", "2.5", 2.5) for kind in BOTH),
    (ServiceSettings, "HOST", "::1", "::1"),
    (ServiceSettings, "PORT", "0", 0),
    (ServiceSettings, "PORT", "65535", 65_535),
    (ServiceSettings, "AUTH", "none", "none"),
    (ServiceSettings, "AUDIENCE", "other", "other"),
    (ServiceSettings, "EGRESS_ALLOW", "10.0.0.0/8", (ip_network("10.0.0.0/8"),)),
    (ServiceSettings, "EGRESS_ALLOW", "fd00::/8, 10.1.2.3", (ip_network("fd00::/8"), ip_network("10.1.2.3"))),
    (ServiceSettings, "EGRESS_HTTP", "true", True),
    (ServiceSettings, "EGRESS_HTTP", "false", False),
    (ServiceSettings, "SLACK_HOSTS", "", ()),
    (ServiceSettings, "SLACK_HOSTS", "slack.example.com", ("slack.example.com",)),
    (ServiceSettings, "ATTEMPTS", "1", 1),
    (ServiceSettings, "ATTEMPT_TIMEOUT", "0.25", 0.25),
    (ServiceSettings, "TARGET_TIMEOUT", "120", 120.0),
    (ServiceSettings, "BACKOFF_INITIAL", ".5", 0.5),
    (ServiceSettings, "RECORD_TIMEOUT", "1", 1.0),
    (ServiceSettings, "WAIT_LIMIT", "3", 3.0),
    (ServiceSettings, "WAIT_LIMIT", "", None),
    (ServiceSettings, "MAX_IN_FLIGHT", "1", 1),
    (ServiceSettings, "MAX_TARGETS", "1", 1),
    (ServiceSettings, "MAX_TAKEOVERS", "0", 0),
    (ServiceSettings, "EVENTS", "all", "all"),
    (ServiceSettings, "MAX_BODY", "1", 1),
    (ServiceSettings, "MAX_RESPONSE", "1", 1),
    (ServiceSettings, "MAX_TARGETS_IN_FLIGHT", "2000", 2000),
    (ServiceSettings, "MAX_CONNECTIONS_PER_HOST", "1", 1),
    (WatcherSettings, "MAX_AGE", "60", 60.0),
    (WatcherSettings, "TOKEN_FILE", "/var/run/token", "/var/run/token"),
    (WatcherSettings, "TOKEN_FILE", "", None),
    (WatcherSettings, "RESYNC", "5", 5.0),
    (WatcherSettings, "WATCH_PORT", "0", 0),
]


@pytest.mark.parametrize(("kind", "name", "text", "value"), MADE)
def test_a_variable_sets_its_setting(env: Env, kind: Kind, name: str, text: str, value: Any) -> None:
    env(**{name: text})
    assert getattr(kind.load(), name.lower()) == value


def test_the_watcher_can_use_another_service(env: Env) -> None:
    env(URL="https://delivery.example.com:8443/base")
    assert str(WatcherSettings.load().url) == "https://delivery.example.com:8443/base"


def test_other_variables_are_ignored(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    env(UNHEARD_OF="x")
    monkeypatch.setenv("PORT", "99")
    assert ServiceSettings.load().port == 8080


NO_SECONDS = ["", "soon", "0", "0.0", "-1", "inf", "-inf", "nan", "1e400", "31536001", "10s", "1,5", "0x10"]
DURATIONS = [
    *((kind, "API_TIMEOUT") for kind in BOTH),
    (ServiceSettings, "ATTEMPT_TIMEOUT"),
    (ServiceSettings, "TARGET_TIMEOUT"),
    (ServiceSettings, "BACKOFF_INITIAL"),
    (ServiceSettings, "RECORD_TIMEOUT"),
    (ServiceSettings, "WAIT_LIMIT"),
    (ServiceSettings, "DRAIN_TIMEOUT"),
    (WatcherSettings, "MAX_AGE"),
]
COUNTS = [
    "MAX_IN_FLIGHT",
    "MAX_TARGETS",
    "MAX_BODY",
    "MAX_RESPONSE",
    "MAX_TARGETS_IN_FLIGHT",
    "MAX_CONNECTIONS_PER_HOST",
]
REFUSED: list[tuple[Kind, str, str]] = [
    # All durations have one type, and all counts another: one of each gets every invalid value.
    *((WatcherSettings, "RESYNC", text) for text in NO_SECONDS),
    *((kind, name, text) for kind, name in DURATIONS for text in ("0", "inf")),
    *((ServiceSettings, "ATTEMPTS", text) for text in ("", "0", "-1", "1.5", "many", "inf")),
    *((ServiceSettings, name, "0") for name in COUNTS),
    (ServiceSettings, "MAX_TAKEOVERS", "-1"),
    (ServiceSettings, "EVENTS", "none"),
    *((ServiceSettings, "PORT", text) for text in ("", "-1", "65536", "http", "80.5")),
    *((WatcherSettings, "WATCH_PORT", text) for text in ("", "-1", "65536")),
    *((kind, "LOG_LEVEL", text) for kind in BOTH for text in ("", "info", "TRACE", "10")),
    *((kind, "LOG_FORMAT", text) for kind in BOTH for text in ("", "JSON", "text")),
    *((kind, "API_GROUP", "") for kind in BOTH),
    *((kind, "PHASES", text) for kind in BOTH for text in ("", "Running", "completed", "Completed;Failed")),
    *((ServiceSettings, "AUTH", text) for text in ("", "None", "off", "token")),
    *((ServiceSettings, "EGRESS_HTTP", text) for text in ("", "maybe", "2")),
    *(
        (ServiceSettings, "EGRESS_ALLOW", text)
        for text in ("10.0.0.0/33", "10.0.0.1/8", "localhost", "10.0.0.0/8;fd00::/8", "10.0.0.0/8,x", "*")
    ),
    *(
        (ServiceSettings, "EGRESS_PROXY", text)
        for text in (
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://proxy",
            "http://:3128",
            "http://proxy:x",
            "http://proxy:3128/path",
            "http://pro xy:3128",
            "http://[proxy:3128",
            "http://us%3Aer:password@proxy:3128",
            "http://user:%E2%82%AC@proxy:3128",
        )
    ),
    *(
        (ServiceSettings, "EGRESS_NO_PROXY", text)
        for text in (
            "*",
            ".",
            "http://x",
            "bücher..example",
            "svc,a b",
            "a..b",
            "1",
            "10.0.0",
            "\u212a.test",
        )
    ),
    *(
        (ServiceSettings, "SECRET_LABEL", text)
        for text in ("a b", "a=b=c", "=x", "/x", "-x", "x/", "a/b/c", "a=-", "a,b", "x" * 64, "é")
    ),
    *((WatcherSettings, "URL", text) for text in ("", "127.0.0.1:8080", "ftp://x", "http://", "http://[")),
]


@pytest.mark.parametrize(("kind", "name", "text"), REFUSED)
def test_an_invalid_value_is_refused_with_the_variable_s_name(
    env: Env, kind: Kind, name: str, text: str
) -> None:
    env(**{name: text})
    with pytest.raises(SettingsError) as caught:
        kind.load()
    sentences = str(caught.value).split("; ")
    assert all(sentence.startswith(f"{PREFIX}{name}: ") for sentence in sentences), caught.value
    assert "pydantic" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_invalid_values_are_reported_together(env: Env) -> None:
    env(PORT="x", ATTEMPTS="0", LOG_LEVEL="loud")
    with pytest.raises(SettingsError) as caught:
        ServiceSettings.load()
    assert all(
        name in str(caught.value) for name in ("DELIVERY_PORT", "DELIVERY_ATTEMPTS", "DELIVERY_LOG_LEVEL")
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"ATTEMPT_TIMEOUT": "61"},
        {"TARGET_TIMEOUT": "9"},
        {"ATTEMPT_TIMEOUT": "3", "TARGET_TIMEOUT": "2.9"},
    ],
)
def test_an_attempt_longer_than_its_target_s_time_is_refused(env: Env, settings: dict[str, str]) -> None:
    env(**settings)
    with pytest.raises(SettingsError, match=r"ATTEMPT_TIMEOUT is longer than .*TARGET_TIMEOUT.*; lower"):
        ServiceSettings.load()


def test_fewer_targets_in_flight_than_two_full_teams_is_refused(env: Env) -> None:
    env(MAX_TARGETS="100", MAX_TARGETS_IN_FLIGHT="199")
    with pytest.raises(
        SettingsError, match=r"IN_FLIGHT is less than twice .*MAX_TARGETS.*; raise the former"
    ):
        ServiceSettings.load()
    env(MAX_TARGETS_IN_FLIGHT="200")
    assert ServiceSettings.load().max_targets_in_flight == 200


@pytest.mark.parametrize("text", ["0", "45.1", "300"])
def test_authorization_results_may_be_cached_for_at_most_a_minute(env: Env, text: str) -> None:
    env(AUTH_CACHE=text)
    with pytest.raises(SettingsError, match=r"^DELIVERY_AUTH_CACHE: "):
        ServiceSettings.load()
    env(AUTH_CACHE="45")
    assert ServiceSettings.load().auth_cache == 45.0


RELAY = {"EMAIL": "smtp", "SMTP_HOST": "smtp.example.com", "SMTP_FROM": "Teams <teams@example.com>"}
LOGIN = {"SMTP_USERNAME": "teams", "SMTP_PASSWORD_FILE": "/run/secrets/password"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SMTP_HOST": "smtp.example.com"}, "DELIVERY_SMTP_HOST and DELIVERY_SMTP_FROM go together"),
        ({"SMTP_FROM": "teams@example.com"}, "DELIVERY_SMTP_HOST and DELIVERY_SMTP_FROM go together"),
        (
            {**RELAY, "SMTP_USERNAME": "teams"},
            "DELIVERY_SMTP_USERNAME and DELIVERY_SMTP_PASSWORD_FILE go together",
        ),
        ({**RELAY, **LOGIN, "SMTP_TLS": "none"}, "would be sent unencrypted to smtp.example.com"),
        ({**RELAY, "SMTP_FROM": "Teams"}, "DELIVERY_SMTP_FROM: is not a mail address"),
        (
            {**RELAY, "SMTP_FROM": "a\nBcc: b <a@b.c>"},
            "DELIVERY_SMTP_FROM: must not contain control characters",
        ),
        (
            {**RELAY, "SMTP_HOST": "smtp.example.com:25"},
            "DELIVERY_SMTP_HOST: smtp.example.com:25: must be a host",
        ),
        ({**RELAY, "SMTP_HOST": "*.example.com"}, "DELIVERY_SMTP_HOST: *.example.com: must be a host"),
        ({**RELAY, "SMTP_HOST": ".example.com"}, "DELIVERY_SMTP_HOST: .example.com: must be a host"),
        ({**RELAY, "SMTP_PORT": "0"}, "DELIVERY_SMTP_PORT: "),
        ({**RELAY, "SMTP_TLS": "ssl"}, "DELIVERY_SMTP_TLS: "),
        ({"EMAIL": "sendgrid"}, "DELIVERY_EMAIL: "),
        ({"GOOGLE_DRIVE": "yes"}, "DELIVERY_GOOGLE_DRIVE: "),
        ({"GOOGLE_API_URL": "googleapis.com"}, "DELIVERY_GOOGLE_API_URL: must be https:// and a host"),
        *(
            ({"GOOGLE_API_URL": url}, "DELIVERY_GOOGLE_API_URL: must be https:// and a host")
            for url in (
                "https://a:b@g.example",
                "https://g.example?x=1",
                "https://g.example:0",
                "https://g .example",
            )
        ),
    ],
)
def test_partly_configured_backends_are_refused(env: Env, settings: dict[str, str], said: str) -> None:
    env(**settings)
    with pytest.raises(SettingsError) as caught:
        ServiceSettings.load()
    assert said in str(caught.value)


def test_a_relay_is_configured_by_its_host_and_sender(env: Env) -> None:
    env(**RELAY, **LOGIN, SMTP_PORT="", GOOGLE_DRIVE="api", GOOGLE_API_URL="https://google.example/")
    settings = ServiceSettings.load()
    assert (settings.email, settings.smtp_tls, settings.smtp_port) == ("smtp", "starttls", None)
    assert settings.google_api_url == "https://google.example"


LOOPBACKS = ["127.0.0.1", "127.9.9.9", "localhost", "::1"]
BEYOND = ["0.0.0.0", "::", "10.0.0.7", "::ffff:10.0.0.7", "0", "127.1", "delivery.example.com"]  # noqa: S104  # judged


@pytest.mark.parametrize("host", BEYOND)
def test_beyond_loopback_the_service_requires_an_explicit_configuration(env: Env, host: str) -> None:
    env(HOST=host, AUTH="none")
    with pytest.raises(
        SettingsError, match=r"AUTH=none on DELIVERY_HOST=.*; use .* or set DELIVERY_ALLOW_ANY"
    ):
        ServiceSettings.load()
    env(ALLOW_ANYONE="true")
    assert ServiceSettings.load().auth == "none"
    env(AUTH="kubernetes")
    with pytest.raises(
        SettingsError, match=r"unencrypted; set .*TLS_CERT_FILE.* or DELIVERY_ALLOW_PLAIN_HTTP"
    ):
        ServiceSettings.load()
    env(ALLOW_PLAIN_HTTP="true")
    assert ServiceSettings.load().auth == "kubernetes"


@pytest.mark.parametrize("host", BEYOND)
def test_with_tls_the_service_starts_on_any_address(env: Env, host: str) -> None:
    env(HOST=host, TLS_CERT_FILE="cert.pem", TLS_KEY_FILE="key.pem")
    assert ServiceSettings.load().host == host


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("auth", ["none", "kubernetes"])
def test_on_loopback_the_service_starts_without_tls(env: Env, host: str, auth: str) -> None:
    env(HOST=host, AUTH=auth)
    assert ServiceSettings.load().host == host


@pytest.mark.parametrize("name", ["TLS_CERT_FILE", "TLS_KEY_FILE"])
def test_a_certificate_without_its_key_is_refused(env: Env, name: str) -> None:
    env(**{name: "file.pem"})
    with pytest.raises(SettingsError, match="go together; set both or neither"):
        ServiceSettings.load()


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080", True),
        ("http://[::1]:8080", True),
        ("https://delivery.ops.svc:8080", True),
        ("http://delivery.ops.svc:8080", False),
        ("http://10.0.0.7:8080", False),
        ("http://127.0.0.1.example.com", False),
    ],
)
def test_the_watcher_s_token_is_never_sent_unencrypted(env: Env, url: str, sent: bool) -> None:
    env(URL=url)
    assert WatcherSettings.load().token_file is None
    env(TOKEN_FILE="token")
    if not sent:
        with pytest.raises(
            SettingsError, match=r"would be sent unencrypted to .*; use https:// in DELIVERY_URL"
        ):
            WatcherSettings.load()
        env(ALLOW_PLAIN_HTTP="true")
    assert WatcherSettings.load().token_file == "token"


@pytest.mark.parametrize("label", ["a", "a=", "a=b", "example.com/a.b_c=D-e", "kagents.dev/delivery=true"])
def test_a_label_valid_in_kubernetes_can_be_required_of_secrets(env: Env, label: str) -> None:
    env(SECRET_LABEL=label)
    assert ServiceSettings.load().secret_label == label


@pytest.mark.parametrize("proxy", ["http://proxy:3128", "http://u:p%40@10.0.0.1:1/", "http://[::1]:3128"])
def test_a_proxy_is_set_by_its_address_and_its_password_is_never_shown(env: Env, proxy: str) -> None:
    env(EGRESS_PROXY=proxy)
    settings = ServiceSettings.load()
    assert settings.egress_proxy is not None
    assert settings.egress_proxy.get_secret_value() == proxy
    assert proxy not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_hosts_are_excepted_from_the_proxy_by_name(env: Env) -> None:
    names = ("svc.cluster.local", ".bücher.example", "*.Example.org", "10.0.0.0/8", "fd00::1", "a.test:8443")
    env(EGRESS_NO_PROXY=",".join(names))
    assert ServiceSettings.load().egress_no_proxy == names


def test_an_invalid_proxy_is_refused_without_showing_its_password(env: Env) -> None:
    env(EGRESS_PROXY=f"https://user:{CANARY}@proxy:3128")
    with pytest.raises(SettingsError, match=r"EGRESS_PROXY: must be http://host:port") as caught:
        ServiceSettings.load()
    assert CANARY not in str(caught.value)


def test_certificate_authorities_are_read_with_the_settings(env: Env, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    env(EGRESS_CA_FILE=str(file))
    with pytest.raises(SettingsError, match=r"EGRESS_CA_FILE: .*ca\.pem cannot be read: No such file"):
        ServiceSettings.load()
    for content in ("", "no certificate\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        file.write_text(content)
        with pytest.raises(
            SettingsError, match=r"EGRESS_CA_FILE: .*ca\.pem contains no certificates in PEM form"
        ):
            ServiceSettings.load()
    trustme.CA().cert_pem.write_to_path(str(file))
    assert ServiceSettings.load().egress_ca_file == str(file)
    env(EGRESS_CA_FILE="")
    assert ServiceSettings.load().egress_ca_file is None


@pytest.mark.parametrize("settings", [{"BACKOFF_INITIAL": "60"}, {"BACKOFF_INITIAL": "99"}])
def test_a_wait_longer_than_the_target_s_time_is_refused(env: Env, settings: dict[str, str]) -> None:
    env(**settings)
    with pytest.raises(SettingsError, match=r"BACKOFF_INITIAL is not shorter than .*TARGET_TIMEOUT.*; lower"):
        ServiceSettings.load()


def test_a_drain_shorter_than_an_attempt_is_refused(env: Env) -> None:
    env(DRAIN_TIMEOUT="9")
    with pytest.raises(SettingsError, match=r"DRAIN_TIMEOUT is shorter than .*ATTEMPT_TIMEOUT"):
        ServiceSettings.load()


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [
        ({}, 25.0),
        ({"ATTEMPT_TIMEOUT": "20"}, 35.0),
        ({"API_TIMEOUT": "2"}, 17.0),
        ({"DRAIN_TIMEOUT": "12"}, 12.0),
        ({"DRAIN_TIMEOUT": ""}, 25.0),
    ],
)
def test_a_drain_takes_as_long_as_an_attempt_and_its_record(
    env: Env, settings: dict[str, str], seconds: float
) -> None:
    env(**settings)
    assert ServiceSettings.load().drains == seconds


@pytest.mark.parametrize("name", ["TARGET_TIMEOUT", "RECORD_TIMEOUT", "API_TIMEOUT"])
def test_a_claim_longer_than_the_accepted_maximum_is_refused(env: Env, name: str) -> None:
    env(**{name: "7200", "DRAIN_TIMEOUT": "60"})
    with pytest.raises(SettingsError, match=r"claims would last .* s, but at most 7200 s are allowed; lower"):
        ServiceSettings.load()


def test_an_attempt_may_take_all_of_its_target_s_time(env: Env) -> None:
    env(ATTEMPT_TIMEOUT="20", TARGET_TIMEOUT="20")
    assert ServiceSettings.load().attempt_timeout == 20.0


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 75.0), ({"TARGET_TIMEOUT": "20"}, 35.0), ({"WAIT_LIMIT": "3"}, 3.0), ({"WAIT_LIMIT": ""}, 75.0)],
)
def test_a_caller_waits_slightly_longer_than_a_target_may_take(
    env: Env, settings: dict[str, str], seconds: float
) -> None:
    env(**settings)
    assert ServiceSettings.load().waits == seconds


_seconds = st.floats(0.001, 1_800)


@unhurried
@given(attempt=_seconds, target=_seconds, record=_seconds, api=_seconds, first=st.floats(0.001, 10))
def test_a_claim_outlasts_the_longest_dispatch_with_any_settings(
    attempt: float, target: float, record: float, api: float, first: float
) -> None:
    assume(attempt <= target)
    assume(first < target)
    assume(4 * api + 1.5 * target + record + 10 <= LONGEST_CLAIM.total_seconds())
    settings = ServiceSettings.load(
        attempt_timeout=attempt,
        target_timeout=target,
        record_timeout=record,
        api_timeout=api,
        backoff_initial=first,
        drain_timeout=max(attempt, 1.0),
    )
    # Read and claim, the sends, the last record with its own read and write; with a clock of whole seconds.
    longest = 4 * api + settings.patience + target + record
    assert settings.claim_life.total_seconds() - CLOCK_STEP >= longest
    assert settings.claim_life <= LONGEST_CLAIM


def test_a_service_serves_the_configured_namespaces() -> None:
    assert ServiceSettings.load(namespaces="").serves("research")
    told = ServiceSettings.load(namespaces="research,ops")
    assert [told.serves(name) for name in ("research", "ops", "other", "")] == [True, True, False, False]


def test_settings_are_immutable(env: Env) -> None:
    with pytest.raises(ValueError, match="frozen"):
        ServiceSettings.load().port = 1  # type: ignore[misc]


def test_unknown_variables_with_our_prefix_are_found() -> None:
    read = {
        "DELIVERY_PORT": "8080",
        "delivery_log_level": "INFO",
        "DELIVERY_RESYNC": "300",
        "DELIVERY_CRASH_AT": "claimed",
        "PORT": "1",
        "DELIVERY_SERVICE_HOST": "10.0.0.1",
        "DELIVERY_API_SERVICE_PORT_HTTPS": "443",
        "DELIVERY_API_PORT_443_TCP_ADDR": "10.0.0.1",
    }
    assert misspelt(read) == {}
    wrong = {"DELIVERY_LOGLEVEL": "DEBUG", "DELIVERY_TOKEN": "canary", "DELIVERY_WHATEVER": "x"}
    found = misspelt({**read, **wrong})
    assert found == {
        "DELIVERY_LOGLEVEL": "it has no effect; did you mean DELIVERY_LOG_LEVEL?",
        "DELIVERY_TOKEN": "only the commands for people read it; did you mean DELIVERY_TOKEN_FILE?",
        "DELIVERY_WHATEVER": "it has no effect",
    }

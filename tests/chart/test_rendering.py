"""The rendered chart for many values: valid, as restricted as documented, consistent with the settings."""

import json
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import CommonSettings, ServiceSettings, WatcherSettings
from tests.chart.conftest import MATRIX
from tests.harness.documents import read_yaml
from tests.harness.helm import CHART, NAMESPACE, RELEASE, Document, Helm, Refused, Rendering, run

ROOT = Path(__file__).parents[2]
VALUES: Document = read_yaml(CHART / "values.yaml")
ALONE = {"port", "watch_port", "url", "token_file", "ca_file", "tls_cert_file", "tls_key_file"}
"""Settings that follow from how the chart puts the parts together."""

matrix = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX)


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def container(rendering: Rendering, name: str) -> Document:
    [found] = [one for one in rendering.pods[0]["containers"] if one["name"] == name]
    return dict(found)


def environment(rendering: Rendering, name: str) -> dict[str, str]:
    """The environment variables of a container that have a literal value."""
    own = {one["name"]: one["value"] for one in container(rendering, name)["env"] if "value" in one}
    return rendering.settings | own


def loaded(
    kind: type[CommonSettings], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> CommonSettings:
    """Read settings from these variables, as a process would."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return kind.load()


def test_helm_lint_finds_nothing(any_helm: Helm) -> None:
    said = run(any_helm.path, "lint", "--strict", CHART)
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "WARNING" not in said


def test_old_and_new_helm_render_the_same(kubectl: Path) -> None:
    new, old = Helm(kubectl.with_name("helm")), Helm(kubectl.with_name("helm3"))
    if not old.path.exists():
        pytest.skip("no helm3: tests/harness/kubectl fetch brings it")
    for values in MATRIX.values():
        order = [sorted(map(json.dumps, helm.render(values).documents)) for helm in (new, old)]
        assert order[0] == order[1]


@matrix
def test_every_pod_meets_the_restricted_standard(helm: Helm, values: Document) -> None:
    """Check the rules of https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""
    for pod in helm.render(values).pods:
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for volume in pod.get("volumes", []):
            assert set(volume) <= {"name", "configMap", "emptyDir", "projected", "secret", "downwardAPI"}
        for one in pod["containers"]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@matrix
def test_every_mount_has_a_volume_and_every_volume_a_mount(helm: Helm, values: Document) -> None:
    for pod in helm.render(values).pods:
        mounted = {mount["name"] for one in pod["containers"] for mount in one.get("volumeMounts", [])}
        assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


def test_every_setting_is_a_value_with_the_same_default() -> None:
    fields = ServiceSettings.model_fields | WatcherSettings.model_fields
    assert set(VALUES["settings"]) == {camel(name) for name in set(fields) - ALONE}
    differ = {"host": "0.0.0.0"}  # noqa: S104  # in a pod, protected by its NetworkPolicy
    for name, field in fields.items():
        if name not in ALONE:
            default = field.get_default()
            wanted = list(default) if isinstance(default, tuple) else default
            assert VALUES["settings"][camel(name)] == differ.get(name, wanted), name


@matrix
def test_the_processes_accept_the_rendered_settings(
    helm: Helm, values: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering = helm.render(values)
    given = VALUES["settings"] | values.get("settings", {})
    monkeypatch.setattr("app.settings._authorities", lambda path: path)
    names = [one["name"] for one in rendering.pods[0]["containers"]]
    for kind, name in ((ServiceSettings, "service"), (WatcherSettings, "watcher")):
        if name not in names:
            continue
        with monkeypatch.context() as patched:
            files = ("DELIVERY_EGRESS_CA_FILE", "DELIVERY_CA_FILE")  # not on this machine
            variables = {
                key: value for key, value in environment(rendering, name).items() if key not in files
            }
            settings = loaded(kind, variables, patched)
        for field in kind.model_fields:
            value = given.get(camel(field))
            if value is not None and field not in {"egress_ca_file", "allow_plain_http"}:
                found = getattr(settings, field)
                if isinstance(found, tuple):
                    found = [one if isinstance(one, float) else str(one) for one in found]
                assert found == value, field


REFUSED_BY_THE_SCHEMA: list[tuple[str, Any]] = [
    ("replicaCount", "two"),
    ("replicas", 2),
    ("image.pullPolicy", "Sometimes"),
    ("settings.maxInflight", 3),
    ("settings.email", "sendmail"),
    ("settings.logLevel", "loud"),
    ("settings.attempts", 0),
    ("settings.authCache", 60),
    ("settings.phases", ["Running"]),
    ("settings.egressAllow", "10.0.0.0/8"),
    ("settings.egressProxy", "http://user:password@proxy:3128"),
    ("settings.namespaces", ["Research"]),
    ("networkPolicy.callers", [{}]),
    ("networkPolicy.callers", [{"podselector": {}}]),
    ("service.port", 70000),
    ("tls", None),
    ("settings.apiGroup", None),
    ("settings.auth", None),
    ("nameOverride", "with.dots"),
    ("replicaCount", 1000000000000),
    ("settings.audience", "a b"),
    ("settings.audience", "a\n  b: c"),
    ("settings.host", "example.com"),
    ("settings.phases", []),
    ("podMonitor.interval", "1h"),
    ("prometheusRule.selector", "namespace=ops"),
    ("prometheusRule.selector", 'a="b",'),
    ("prometheusRule.selector", 'a="b"} or vector(1) #'),
    ("resources.requests.memory", "128mb"),
    ("resources.limits.memory", "512m"),
    ("resources.limits.cpu", "half"),
    ("watcher.resources.requests.memory", "1 Gi"),
    ("settings.drainTimeout", 1000000000000),
    ("settings.host", "dead"),
    ("settings.egressNoProxy", ["*"]),
    ("settings.egressNoProxy", ["a..b"]),
    ("settings.egressNoProxy", ["bücher..example"]),
    ("settings.secretLabel", "a/b/c=-"),
    ("networkPolicy.apiServerPorts", None),
    ("networkPolicy.publicPorts", None),
    ("service.port", None),
    ("image.repository", None),
    ("callerClusterRole.name", None),
    ("callerClusterRole.name", "x\n  annotations: {a: b}"),
    ("podDisruptionBudget.maxUnavailable", None),
    ("autoscaling.maxReplicas", None),
    ("priorityClassName", "p\n      hostNetwork: true"),
    ("extraVolumes", [{"name": "tls", "emptyDir": {}}]),
]


def test_the_schema_refuses_invalid_values_by_their_place(helm: Helm) -> None:
    """Helm names everything that the schema refuses, so each rendering has many faults, one per place."""
    left = list(REFUSED_BY_THE_SCHEMA)
    while left:
        chosen = dict(reversed(left))  # the first of each place
        left = [row for row in left if chosen[row[0]] is not row[1]]
        with pytest.raises(Refused) as refused:
            helm.render(nested(chosen))
        said = str(refused.value).splitlines()
        for place in chosen:
            home, _, name = f".{place}".replace(".", "/").rpartition("/")
            at_home = rf"at '{home}': (missing|additional) propert.*'{name}'"
            assert [line for line in said if re.search(rf"at '{home}/{name}|{at_home}", line)], (place, said)


def nested(values: dict[str, Any]) -> Document:
    """Return the document in which these values are at their dotted places."""
    document: Document = {}
    for place, value in values.items():
        *home, name = place.split(".")
        inner = document
        for key in home:
            inner = inner.setdefault(key, {})
        inner[name] = value
    return document


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"image": {"digest": "latest"}}, "64 hexadecimal digits"),
        ({"settings": {"smtpHost": "relay"}}, "settings.smtpHost and settings.smtpFrom go together"),
        (
            {"settings": {"smtpUsername": "teams"}},
            "settings.smtpUsername and settings.smtpPasswordFile go together",
        ),
        (
            {"settings": {"smtpUsername": "a", "smtpPasswordFile": "/b", "smtpTls": "none"}},
            "would be sent unencrypted; set it to starttls or tls",
        ),
        ({"settings": {"egressAllow": ["10.0.0.0"]}}, "the length of its prefix"),
        ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "a share from 1% to 100%"),
        ({"settings": {"auth": "none"}}, "set settings.allowAnyone=true"),
        ({"networkPolicy": {"callers": [{"podSelector": {}}]}}, "set tls.secretName"),
        ({"networkPolicy": {"extraIngress": [{}]}}, "set tls.secretName"),
        ({"networkPolicy": {"enabled": False}}, "set tls.secretName"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name must say"),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "remove it"),
        ({"settings": {"recordTimeout": "soon"}}, "write seconds"),
        ({"settings": {"attemptTimeout": 90}}, "lower the former"),
        ({"settings": {"backoffInitial": 60}}, "lower the former"),
        ({"settings": {"drainTimeout": 5}}, "raise it"),
        ({"settings": {"maxTargets": 3000}}, "lower the latter"),
        ({"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}, "needs targetCPU"),
        ({"podLabels": {"app.kubernetes.io/instance": "x"}}, "remove it"),
        ({"commonLabels": {"helm.sh/chart": "x"}}, "remove it"),
        ({"settings": {"egressAllow": ["10.0.0.0/33"]}}, "egressAllow"),
        ({"settings": {"egressAllow": ["fd00::/129"]}}, "egressAllow"),
        ({"settings": {"egressAllow": ["10.0.0.1/8"]}}, "the address with /32"),
        ({"settings": {"egressDeny": ["10.1.0.1/16"]}}, "the address with /32"),
        ({"settings": {"egressAllow": ["10.64.0.0/9"]}}, "the address with /32"),
        ({"settings": {"egressAllow": ["999.0.0.0/8"]}}, "more than 255"),
        ({"settings": {"egressAllow": ["010.0.0.0/8"]}}, "such as 10.0.0.0/8"),
        ({"networkPolicy": {"apiServerCidrs": ["192.0.2.1/31"]}}, "apiServerCidrs"),
        ({"settings": {"egressProxy": "http://proxy:3128"}}, "networkPolicy.extraEgress"),
        ({"podMonitor": {"enabled": True}}, "add Prometheus to networkPolicy.scrapers"),
        ({"settings": {"tracing": True}}, "add a rule to networkPolicy.extraEgress"),
        ({"extraEnv": [{"name": "delivery_Auth", "value": "none"}]}, "set it with settings, tls or service"),
        ({"service": {"port": 8081}}, "the same"),
        ({"podDisruptionBudget": {"maxUnavailable": "1"}}, "1 without quotes"),
        ({"podDisruptionBudget": {"maxUnavailable": "150%"}}, "maxUnavailable"),
        ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}, "lower the former"),
        (
            {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}},
            "resources.requests.cpu",
        ),
        (
            {"autoscaling": {"enabled": True}, "watcher": {"resources": {"requests": {"cpu": None}}}},
            "watcher.resources.requests.cpu",
        ),
        ({"settings": {"authCache": "60.5"}}, "lower it"),
        ({"settings": {"readTimeout": "0.0"}}, "more than 0 seconds"),
        ({"extraEnv": [{"name": "DELIVERY_PORT", "value": "9"}]}, "set it with settings, tls or service"),
        ({"extraEnv": [{"name": "DELIVERY_AUTH", "value": "none"}]}, "set it with settings, tls or service"),
        ({"extraEnv": [{"name": "DELIVERY_CA_FILE", "value": "/x"}]}, "set it with settings, tls or service"),
        ({"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "remove one"),
    ],
    ids=str,
)
def test_an_invalid_value_is_refused_with_a_sentence(helm: Helm, values: Document, says: str) -> None:
    with pytest.raises(Refused, match=says):
        helm.render(values)


def test_amounts_can_be_written_as_kubernetes_does(helm: Helm) -> None:
    amounts: list[Document] = [
        {"cpu": "500m", "memory": "1.5Gi"},
        {"cpu": 2, "memory": "1e9"},
        {"cpu": "0.25", "memory": 134217728},
        {"cpu": "250000u", "memory": "128974848000m"},
    ]
    for amount in amounts:
        helm.render({"resources": {"requests": amount, "limits": {**amount, "example.com/gpu": "1"}}})


def test_every_helm_version_refuses_an_invalid_value(any_helm: Helm) -> None:
    by_schema, by_template = {"replicaCount": "two"}, {"settings": {"egressAllow": ["10.64.0.0/9"]}}
    for values, says in ((by_schema, "replicaCount"), (by_template, "the address with /32")):
        with pytest.raises(Refused, match=says):
            any_helm.render(values)


def test_decimals_can_be_set_on_the_command_line(any_helm: Helm) -> None:
    sets = ("--set", "settings.recordTimeout=0.25", "--set", "settings.maxBody=2097152")
    data = any_helm.render({}, *sets).settings
    assert (data["DELIVERY_RECORD_TIMEOUT"], data["DELIVERY_MAX_BODY"]) == ("0.25", "2097152")


@pytest.mark.parametrize("release", ["a.b", "r" * 53, "b" * 50 + "--b", "agentteam-delivery", "x", "true"])
def test_names_are_valid_for_every_release_name(helm: Helm, release: str) -> None:
    rendering = Rendering(
        tuple(filter(None, yaml.safe_load_all(run(helm.path, "template", release, CHART, "-n", NAMESPACE))))
    )
    service = rendering.one("Service")["metadata"]["name"]
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", service)
    assert len(rendering.one("Pod")["metadata"]["name"]) <= 63


def test_a_release_name_that_starts_with_a_digit_is_refused_with_a_remedy(helm: Helm) -> None:
    with pytest.raises(Refused, match="set fullnameOverride"):
        run(helm.path, "template", "1team", CHART, "-n", NAMESPACE)


def test_an_empty_key_equals_no_key(any_helm: Helm) -> None:
    empty = dict.fromkeys(("commonLabels", "commonAnnotations", "podLabels", "podAnnotations"))
    assert any_helm.render(empty).documents == any_helm.render().documents


def test_an_ipv6_only_pod_uses_ipv6_internally(helm: Helm) -> None:
    plain = helm.render({"settings": {"host": "::"}})
    assert environment(plain, "watcher")["DELIVERY_URL"] == "http://[::1]:8080"
    covered = helm.render({"settings": {"host": "::"}, "tls": {"secretName": "delivery-tls"}})
    assert [alias["ip"] for alias in covered.pods[0]["hostAliases"]] == ["::1"]


def test_a_utilization_can_be_relative_to_a_limit(helm: Helm) -> None:
    limit = {"requests": {"cpu": None}, "limits": {"cpu": 1}}
    assert helm.render({"autoscaling": {"enabled": True}, "resources": limit}).of("HorizontalPodAutoscaler")


def test_a_topology_spread_with_its_own_selector_keeps_it(helm: Helm) -> None:
    own = {"matchLabels": {"foo": "bar"}}
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": own}
    [rendered] = helm.render({"topologySpreadConstraints": [spread]}).pods[0]["topologySpreadConstraints"]
    assert rendered == spread


def test_dns_options_come_from_the_values(helm: Helm) -> None:
    def pod(values: Document) -> Document:
        spec: Document = helm.render(values).one("Deployment")["spec"]["template"]["spec"]
        return spec

    assert pod({})["dnsConfig"] == {"options": [{"name": "ndots", "value": "2"}]}
    assert "hostAliases" not in pod({})
    alias = {"ip": "192.0.2.7", "hostnames": ["hooks.corp.example"]}
    said = {"dnsConfig": {"options": [], "searches": ["corp.example"]}, "hostAliases": [alias]}
    assert pod(said)["dnsConfig"] == {"options": [], "searches": ["corp.example"]}
    assert pod(said)["hostAliases"] == [alias]
    assert [one["ip"] for one in pod(said | {"tls": {"secretName": "tls"}})["hostAliases"]] == [
        "127.0.0.1",
        "192.0.2.7",
    ]


def test_an_older_kubernetes_is_refused(any_helm: Helm) -> None:
    any_helm.render({}, "--kube-version", "1.29.0")
    any_helm.render({}, "--kube-version", "v1.30.4-eks-036c24b")
    with pytest.raises(Refused, match=r"1\.29"):
        any_helm.render({}, "--kube-version", "1.28.9")


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 40), ({"drainTimeout": 60}, 75), ({"drainTimeout": 30.5}, 46), ({"attemptTimeout": 20}, 50)],
)
def test_the_grace_period_is_longer_than_the_drain(helm: Helm, settings: Document, seconds: int) -> None:
    rendering = helm.render({"settings": settings})
    grace = rendering.pods[0]["terminationGracePeriodSeconds"]
    assert grace == seconds
    service = ServiceSettings(
        allow_plain_http=True,
        attempt_timeout=settings.get("attemptTimeout", 10.0),
        drain_timeout=settings.get("drainTimeout"),
    )
    [main, _] = rendering.pods[0]["containers"]
    [waited] = re.findall(r"sleep\((\d+)\)", main["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert grace >= math.ceil(service.drains) + 10 + int(waited)


def peers(policy: Document, port: int) -> list[Any]:
    """Which peers the NetworkPolicy permits to connect to a port."""
    return [
        peer
        for rule in policy["spec"]["ingress"]
        if any(one["port"] == port for one in rule.get("ports", []))
        for peer in rule["from"]
    ]


def test_by_default_only_the_test_pod_has_access(helm: Helm) -> None:
    rendering = helm.render()
    policy = rendering.one("NetworkPolicy")
    labels = rendering.one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert peers(policy, 8081) == []
    [tester] = peers(policy, 8080)
    assert tester == {"podSelector": {"matchLabels": rendering.one("Pod")["metadata"]["labels"]}}
    assert not tester["podSelector"]["matchLabels"].items() <= labels.items()


def test_callers_reach_the_service_and_scrapers_both_ports(helm: Helm) -> None:
    values = MATRIX["everything that can be on"]
    policy = helm.render(values).one("NetworkPolicy")
    [caller], [scraper] = values["networkPolicy"]["callers"], values["networkPolicy"]["scrapers"]
    assert [one for one in peers(policy, 8080) if one in (caller, scraper)] == [caller, scraper]
    assert peers(policy, 8081) == [scraper]


def ways_out(policy: Document) -> Iterator[tuple[str, int]]:
    """Each permitted destination and port; `*` is any destination, 0 any port."""
    for rule in policy["spec"]["egress"]:
        cidrs = [peer["ipBlock"]["cidr"] for peer in rule.get("to", [])] or ["*"]
        ports = [one["port"] for one in rule.get("ports", [])] or [0]
        yield from ((cidr, port) for cidr in cidrs for port in ports)


def test_egress_is_dns_the_api_server_https_and_what_the_settings_open(helm: Helm) -> None:
    anywhere = ["0.0.0.0/0", "::/0"]
    assert sorted(ways_out(helm.render().one("NetworkPolicy"))) == sorted(
        [("*", 53), ("*", 53), ("*", 443), ("*", 6443), *((cidr, 443) for cidr in anywhere)]
    )
    policy = helm.render(MATRIX["everything that can be on"]).one("NetworkPolicy")
    assert sorted(ways_out(policy)) == sorted(
        [
            ("*", 53),
            ("*", 53),
            ("192.0.2.10/32", 6443),
            ("2001:db8::/64", 6443),
            *((cidr, port) for cidr in anywhere for port in (443, 8443, 80)),
            ("10.0.0.0/8", 9000),
            ("fd00::/8", 9000),
            ("10.1.2.3/32", 3128),
        ]
    )
    mail = ways_out(helm.render({"settings": {"email": "smtp"}}).one("NetworkPolicy"))
    assert {(cidr, port) for cidr in anywhere for port in (443, 465, 587)} < set(mail)
    bare = ways_out(helm.render({"settings": {"email": "smtp", "smtpTls": "none"}}).one("NetworkPolicy"))
    assert {(cidr, 25) for cidr in anywhere} < set(bare)
    assert not {(cidr, 25) for cidr in anywhere} & set(mail)
    every_port = helm.render({"settings": {"egressAllow": ["10.0.0.0/8"]}}).one("NetworkPolicy")
    assert ("10.0.0.0/8", 0) in ways_out(every_port)


def test_two_installations_in_a_cluster_share_no_name(helm: Helm) -> None:
    def names(rendering: Rendering) -> set[tuple[str, str]]:
        return {
            (one["kind"], one["metadata"]["name"])
            for one in rendering.installed
            if "namespace" not in one["metadata"]
        }

    one = names(helm.render())
    other = helm.render({"callerClusterRole": {"create": False}}, "--namespace", "elsewhere")
    assert not one & names(other)
    assert ("ClusterRole", "agentteam-delivery-caller") in one


def test_a_changed_setting_restarts_the_pods(helm: Helm) -> None:
    def checksum(values: Document) -> str:
        annotations = helm.render(values).one("Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/settings"])

    assert checksum({}) == checksum({"replicaCount": 5})
    assert checksum({}) != checksum({"settings": {"attempts": 5}})


def test_with_the_autoscaler_the_deployment_has_no_replica_count(helm: Helm) -> None:
    assert helm.render({"replicaCount": 0}).one("Deployment")["spec"]["replicas"] == 0
    rendering = helm.render(MATRIX["everything that can be on"])
    assert "replicas" not in rendering.one("Deployment")["spec"]
    scaler = rendering.one("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == rendering.one("Deployment")["metadata"]["name"]
    assert [metric["resource"]["name"] for metric in scaler["metrics"]] == ["cpu", "memory"]


def test_each_container_is_probed_on_its_own_port(helm: Helm) -> None:
    for values, scheme in (({}, "HTTP"), ({"tls": {"secretName": "tls"}}, "HTTPS")):
        rendering = helm.render(values)
        for name, port, spoken in (("service", 8080, scheme), ("watcher", 8081, "HTTP")):
            one = container(rendering, name)
            ports = {declared["name"]: declared["containerPort"] for declared in one["ports"]}
            for probe, path in (
                ("startupProbe", "/healthz"),
                ("livenessProbe", "/healthz"),
                ("readinessProbe", "/readyz"),
            ):
                asked = one[probe]["httpGet"]
                assert ports.get(asked["port"], asked["port"]) == port
                assert (asked["path"], asked.get("scheme", "HTTP")) == (path, spoken)


def test_the_watcher_s_token_is_valid_only_for_the_service(helm: Helm) -> None:
    rendering = helm.render({"settings": {"audience": "messages"}})
    [volume] = rendering.pods[0]["volumes"]
    assert volume["projected"]["sources"] == [
        {"serviceAccountToken": {"audience": "messages", "expirationSeconds": 3600, "path": "token"}}
    ]
    assert environment(rendering, "watcher")["DELIVERY_TOKEN_FILE"].endswith("/token")
    assert "DELIVERY_TOKEN_FILE" not in environment(rendering, "service")
    open_to_all = helm.render({"settings": {"auth": "none", "allowAnyone": True}})
    assert "DELIVERY_TOKEN_FILE" not in environment(open_to_all, "watcher")


def test_a_podmonitor_scrapes_every_container_with_its_own_scheme(helm: Helm) -> None:
    for tls in ({}, {"secretName": "delivery-tls"}):
        policy = {"scrapers": [{"namespaceSelector": {"matchLabels": {"team": "platform"}}}]}
        values = {"podMonitor": {"enabled": True}, "networkPolicy": policy, "tls": tls}
        rendering = helm.render(values)
        monitor = rendering.one("PodMonitor")["spec"]
        labels = rendering.one("Deployment")["spec"]["template"]["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        ports = [port["name"] for one in rendering.pods[0]["containers"] for port in one["ports"]]
        scraped = {one["port"]: one for one in monitor["podMetricsEndpoints"]}
        assert list(scraped) == ports
        assert scraped["watch"].get("scheme", "http") == "http"
        if tls:
            trust = scraped["https"]["tlsConfig"]
            assert trust["ca"]["secret"] == {"name": "delivery-tls", "key": "ca.crt"}
            assert trust["serverName"] == f"{RELEASE}-agentteam-delivery.{NAMESPACE}.svc"


def test_alerts_select_this_installation_and_link_to_the_runbook(helm: Helm) -> None:
    values = {"prometheusRule": {"enabled": True, "runbook": "https://docs.example.com/operations"}}
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs/how-to/operate.md").read_text(), re.MULTILINE)
    for tls in ({}, {"secretName": "delivery-tls"}):
        [group] = helm.render({**values, "tls": tls}).one("PrometheusRule")["spec"]["groups"]
        assert len(group["rules"]) == 10 + bool(tls)
        for rule in group["rules"]:
            assert rule["expr"].count("agentteam_delivery_") == rule["expr"].count(f'namespace="{NAMESPACE}"')
            page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
            assert page == values["prometheusRule"]["runbook"]
            assert anchor == rule["alert"].lower()
            assert rule["alert"] in headings


def test_the_notes_name_correct_commands(helm: Helm) -> None:
    # Only an install prints them; Helm 3 requires a cluster even for a dry run.
    said = run(helm.path, "install", RELEASE, CHART, "-n", NAMESPACE, "--dry-run=client")
    for line in (
        f"kubectl rollout status deployment/{RELEASE}-agentteam-delivery -n {NAMESPACE}",
        f"helm test {RELEASE} -n {NAMESPACE}",
        "kubectl get agentteams.kagents.dev -A -o custom-columns=",
        "image.repository is not set",
    ):
        assert line in said.partition("NOTES:\n")[2]


def test_the_notes_say_who_submits_teams_and_where_they_are(helm: Helm) -> None:
    values = ("--set", "watcher.enabled=false", "--set", "settings.namespaces={research,sales}")
    said = run(helm.path, "install", RELEASE, CHART, "-n", NAMESPACE, "--dry-run=client", *values)
    notes = said.partition("NOTES:\n")[2]
    assert "only after your controller submits it" in notes
    assert "agentteams.kagents.dev -n research" in notes
    assert "agentteams.kagents.dev -n sales" in notes
    assert " -A" not in notes


def test_the_permissions_are_those_in_the_documentation(helm: Helm) -> None:
    blocks = (ROOT / "docs/explanation/security.md").read_text().split("```yaml\n")[1:]
    [listed] = [block.partition("```")[0] for block in blocks if "kind: ClusterRole" in block]
    rules = yaml.safe_load(listed)["rules"]
    assert sorted(map(json.dumps, helm.render().rules)) == sorted(map(json.dumps, rules))


def test_the_readme_describes_every_value() -> None:
    told = run(sys.executable, ROOT / ".ci/chart-readme", CHART)
    assert (CHART / "README.md").read_text() == told, "to write the table again: make chart"

"""The commands for people."""

import inspect
import re
import sys
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.console.form import Form
from app.domain.events import DNS_LABEL, DNS_SUBDOMAIN

if TYPE_CHECKING:  # each command imports what it needs when it is called, so `serve` starts without it
    from app.console.client import Client

SETTLED = 120.0  # seconds: a target's own time, and that of its record

people = typer.Typer()

Team = Annotated[str, typer.Argument(help="The AgentTeam's name.", show_default=False)]
AnyTeam = Annotated[
    str | None, typer.Argument(help="The AgentTeam's name; omit it with --all-teams.", show_default=False)
]
Since = Annotated[
    str | None, typer.Option(help="With --all-teams: targets that changed within this time, such as 6h.")
]
OfType = Annotated[str | None, typer.Option("--type", help="With --all-teams: targets of this type.")]
ForReason = Annotated[
    str | None, typer.Option("--reason", help="With --all-teams: targets with this reason.")
]
Output = Annotated[
    Form, typer.Option("--output", "-o", help="Output format; `wide` adds times and ids, one row per target.")
]
Timeout = Annotated[
    float,
    typer.Option(min=0.0, help="Seconds to wait until all targets are settled; `status`: with --watch."),
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", "-t", help="Only this target; can be repeated.")
]

CALLING: dict[str, tuple[Any, Any]] = {
    # The options for reaching the service, and their defaults.
    "namespace": (
        Annotated[
            str | None,
            typer.Option(
                "--namespace",
                "-n",
                envvar="DELIVERY_NAMESPACE",
                help="The team's namespace (default: `default`).",
            ),
        ],
        None,
    ),
    "url": (
        Annotated[str, typer.Option(envvar="DELIVERY_URL", help="Address of the service.")],
        "http://127.0.0.1:8080",
    ),
    "token_file": (
        Annotated[Path | None, typer.Option(help="File with a token; by default, DELIVERY_TOKEN is used.")],
        None,
    ),
    "service_account": (
        Annotated[
            str | None,
            typer.Option(
                envvar="DELIVERY_SERVICE_ACCOUNT",
                help="Service account for which kubectl creates a short-lived token: NAME in the team's"
                " namespace, or NAMESPACE/NAME.",
            ),
        ],
        None,
    ),
    "context": (
        Annotated[
            str | None,
            typer.Option(
                envvar="DELIVERY_CONTEXT",
                help="Kubeconfig context of the cluster that creates that token; default: the current one.",
            ),
        ],
        None,
    ),
    "audience": (
        Annotated[str, typer.Option(envvar="DELIVERY_AUDIENCE", help="Audience of that token.")],
        "agentteam-delivery",
    ),
    "ca_file": (
        Annotated[
            Path | None,
            typer.Option(
                envvar="DELIVERY_CA_FILE", help="PEM file with the certificate authority of the service."
            ),
        ],
        None,
    ),
    "server_name": (
        Annotated[
            str | None,
            typer.Option(
                envvar="DELIVERY_SERVER_NAME",
                help="Name that the service's certificate must have, if it differs from the host in --url;"
                " with a port-forward, SERVICE.NAMESPACE.svc.",
            ),
        ],
        None,
    ),
}


def calling(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for reaching the service to a command that takes `namespace` and a `client`."""

    @wraps(command)
    def called(ctx: typer.Context, **given: Any) -> None:
        from app.console.client import Client  # noqa: PLC0415
        from app.console.identity import Identity  # noqa: PLC0415
        from app.console.trouble import Trouble, checked  # noqa: PLC0415

        reached = {name: given.pop(name) for name in CALLING}
        many = given["team"] is None  # most commands report this before they get here
        namespace = None if many else "default"
        if reached["namespace"] is not None:
            namespace = checked("--namespace", reached["namespace"], DNS_LABEL)
        if not many:
            checked("the team's name", given["team"], DNS_SUBDOMAIN)
        if server_name := reached["server_name"]:
            # As in a URL, a final dot says that the name is complete; no certificate has it.
            server_name = server_name.lower().removesuffix(".")
            if not re.fullmatch(DNS_SUBDOMAIN, server_name):
                raise Trouble(
                    "--server-name must be a host name without scheme and port, such as"
                    " agentteam-delivery.agentteam-delivery.svc"
                )
        account = reached["service_account"]
        source = ctx.get_parameter_source("service_account")
        if reached["token_file"] and source and source.name == "ENVIRONMENT":
            account = None  # an option overrides the environment
        identity = Identity(reached["token_file"], account, reached["audience"], reached["context"])
        token = identity.token(namespace or "default")
        client = Client(reached["url"], token, reached["ca_file"], server_name)
        command(client=client, namespace=namespace, **given)

    own = inspect.signature(command).parameters.values()
    kept = [parameter for parameter in own if parameter.name not in {"client", "namespace"}]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in CALLING.items()
    ]
    shown = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in kept]
    asked = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    called.__signature__ = inspect.Signature([asked, *shown, *added])  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in (asked, *shown, *added)}
    return called


@people.command(
    epilog="Example: agentteam-delivery deliver report -n research --service-account my-controller"
)
@calling
def deliver(  # noqa: PLR0913  # each an option
    client: "Client",
    namespace: str,
    team: Team,
    *,
    target: Targets = None,
    output: Output = Form.TABLE,
    timeout: Timeout = SETTLED,
) -> None:
    """Deliver the notifications of a finished team, and show the outcome of each target."""
    _follow(client, _event(namespace, team, target), output, timeout)


@people.command(epilog="Example: agentteam-delivery redeliver report -n research --target slack")
@calling
def redeliver(  # noqa: PLR0913
    client: "Client",
    namespace: str | None,
    team: AnyTeam = None,
    *,
    target: Targets = None,
    everything: Annotated[bool, typer.Option("--all", help="Also send targets that were delivered.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Send failed targets (the default).")] = False,
    all_teams: Annotated[
        bool, typer.Option("--all-teams", help="All teams, or all in --namespace; asks for confirmation.")
    ] = False,
    since: Since = None,
    kind: OfType = None,
    reason: ForReason = None,
    rate: Annotated[float, typer.Option(min=0.01, help="With --all-teams: teams per second.")] = 5.0,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --all-teams: do not ask for confirmation.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --all-teams: list the targets, and send nothing.")
    ] = False,
    output: Output = Form.TABLE,
    timeout: Timeout = SETTLED,
) -> None:
    """Send failed targets again, of one team or of all teams."""
    _one_or_many(team, all_teams, "--all-teams")
    if everything and (failed or all_teams):
        raise typer.BadParameter("--all works for one team, and not together with --failed")
    if all_teams:
        found = {"phase": "Failed", "since": since, "type": kind, "reason": reason}
        _redeliver_many(client, namespace, found, output, timeout, rate=rate, yes=yes, dry_run=dry_run)
        return
    assert team is not None  # noqa: S101  # one or many
    assert namespace is not None  # noqa: S101  # one team has a name
    which = "all" if everything else "failed"
    _follow(client, _event(namespace, team, target, redeliver=which), output, timeout)


@people.command(epilog="Example: agentteam-delivery status report -n research --watch")
@calling
def status(  # noqa: PLR0913
    client: "Client",
    namespace: str | None,
    team: AnyTeam = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Wait until every target is settled or postponed.")
    ] = False,
    all_teams: Annotated[
        bool, typer.Option("--all-teams", "-A", help="All teams, or all in --namespace.")
    ] = False,
    phase: Annotated[
        str | None, typer.Option(help="With --all-teams: targets in this phase, such as Failed or Pending.")
    ] = None,
    since: Since = None,
    kind: OfType = None,
    reason: ForReason = None,
    output: Output = Form.TABLE,
    timeout: Timeout = SETTLED,
) -> None:
    """Show the recorded outcomes of one team, or of all teams."""
    _one_or_many(team, all_teams, "--all-teams")
    if all_teams:
        from app.console import bulk  # noqa: PLC0415
        from app.console.printer import Printer  # noqa: PLC0415

        asked = {"phase": phase, "since": bulk.since(since), "type": kind, "reason": reason}
        teams = list(client.find(namespace=namespace, **asked))
        Printer(output).teams({"items": teams})
        raise typer.Exit(int(any(one["phase"] == "Failed" for team in teams for one in team["targets"])))
    assert team is not None  # noqa: S101  # one or many
    assert namespace is not None  # noqa: S101  # one team has a name
    _show(client, client.read(namespace, team), output, timeout if watch else None)


@people.command(epilog="Example: agentteam-delivery preview report -n research -o yaml")
@calling
def preview(  # noqa: PLR0913
    client: "Client",
    namespace: str,
    team: Team,
    *,
    target: Targets = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Include settled targets, as a redelivery would.")
    ] = False,
    output: Output = Form.TABLE,
) -> None:
    """Show what would be sent, without sending it. The team does not have to be finished."""
    from app.console.printer import Printer  # noqa: PLC0415

    event = _event(namespace, team, target, redeliver="all" if everything else None)
    answer = client.post(event, preview=True)
    Printer(output).preview(answer)
    raise typer.Exit(int(any(one["would"] == "Fail" for one in answer["targets"])))


@people.command("test-target", epilog="Example: agentteam-delivery test-target report slack -n research")
@calling
def try_target(
    client: "Client",
    namespace: str,
    team: Team,
    *,
    target: Annotated[list[str], typer.Argument(help="Names of the targets.")],
    output: Output = Form.TABLE,
) -> None:
    """Send a test notification to a target; nothing is recorded."""
    report = client.post(_event(namespace, team, target, test=True))
    _show(client, report, output, None)


@people.command(epilog="Example: agentteam-delivery validate samples/*.yaml")
def validate(
    file: Annotated[
        list[Path],
        typer.Argument(
            help="Manifest files; documents of other kinds are skipped. `-` reads standard input."
        ),
    ],
) -> None:
    """Check AgentTeam manifests without a cluster, and print each problem with its line."""
    from app.console.manifests import findings_of  # noqa: PLC0415

    findings = [finding for one in file for finding in findings_of(one)]
    for finding in findings:
        typer.echo(str(finding))
    if not findings:
        typer.echo(f"{len(file)} file{'s' if len(file) > 1 else ''} checked, nothing to change")
    raise typer.Exit(int(any(not finding.warning for finding in findings)))


def _one_or_many(team: str | None, many: bool, option: str) -> None:  # noqa: FBT001
    if (team is None) != many:
        raise typer.BadParameter(f"give either a team's name or {option}")


def _redeliver_many(  # noqa: PLR0913  # each an option
    client: "Client",
    namespace: str | None,
    found: dict[str, str | None],
    form: Form,
    timeout: float,
    *,
    rate: float,
    yes: bool,
    dry_run: bool,
) -> None:
    """Show what would be sent again, ask, send at the given rate, and print the outcomes."""
    from app.console import bulk  # noqa: PLC0415
    from app.console.printer import Printer  # noqa: PLC0415
    from app.console.trouble import Trouble  # noqa: PLC0415

    printer = Printer(form)
    teams = list(client.find(namespace=namespace, **{**found, "since": bulk.since(found["since"])}))
    if not teams or dry_run:
        printer.teams({"items": teams})
        printer.tell(f"would be sent again: {bulk.described(teams)}")
        return
    if not yes:
        printer.teams({"items": teams}, aside=True)
        printer.tell(f"to be sent again: {bulk.described(teams)}")
        if not sys.stdin.isatty():
            raise Trouble(
                "nothing was sent: without a terminal nobody can confirm; add --yes, or --dry-run to look"
            )
        typer.confirm("Send them?", abort=True, err=True)
    with printer.counting() as tell:
        reports = list(bulk.redelivered(client, teams, rate=rate, seconds=timeout, tell=tell))
    printer.teams({"items": reports})
    failed = any(target["phase"] == "Failed" for report in reports for target in report["targets"])
    pending = any(report["phase"] == "Pending" for report in reports)
    printer.tell(f"sent again: {bulk.described(reports)}")
    raise typer.Exit(1 if failed else 2 if pending else 0)


def _event(namespace: str, team: str, targets: list[str] | None, **fields: object) -> dict[str, Any]:
    """Return the event's body, without fields that are not set."""
    asked = {"targets": targets or None, **fields}
    return {
        "namespace": namespace,
        "team": team,
        **{name: value for name, value in asked.items() if value is not None},
    }


def _follow(client: "Client", event: dict[str, Any], form: Form, timeout: float) -> None:
    report = client.post(event, prefer="respond-async")
    _show(client, report, form, timeout, event.get("targets"))


def _show(
    client: "Client",
    report: dict[str, Any],
    form: Form,
    timeout: float | None,
    names: Collection[str] | None = None,
) -> None:
    """Print a report, after waiting until it is settled if there is a timeout; exit with the outcome.

    If `names` is given, only these targets determine the exit code.

    Raises:
        Trouble: it is not settled within that time.
    """
    from app.console.following import followed, next_try  # noqa: PLC0415
    from app.console.printer import Printer  # noqa: PLC0415
    from app.console.trouble import Trouble  # noqa: PLC0415

    printer = Printer(form)
    if timeout is not None:
        with printer.progress() as show:
            report = followed(client, report, seconds=timeout, show=show)
    printer.report(report)
    if timeout is not None and report["phase"] == "Pending" and (at := next_try(report)):
        raise Trouble(
            f"postponed: the next attempt is at {at}; the delivery continues by itself, and `status` shows it"
        )
    if timeout is not None and report["phase"] == "Pending":
        goes_on = "the delivery continues, and `status` shows it"
        raise Trouble(f"not settled within {timeout:g} s; {report.get('reason') or goes_on}")
    judged = [target for target in report["targets"] if not names or target["name"] in names]
    raise typer.Exit(int(any(target["phase"] == "Failed" for target in judged)))

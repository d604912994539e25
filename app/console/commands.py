"""The commands for people."""

import inspect
import sys
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.console.form import Form
from app.domain.events import DNS_LABEL, DNS_SUBDOMAIN

if TYPE_CHECKING:  # what a command needs is loaded when it is called: `serve` starts without it
    from app.console.client import Client

SETTLED = 120.0  # seconds: a target's own time, and the record's

people = typer.Typer()

Team = Annotated[str, typer.Argument(help="The AgentTeam's name.", show_default=False)]
AnyTeam = Annotated[
    str | None, typer.Argument(help="The AgentTeam's name; none: see the options.", show_default=False)
]
Since = Annotated[
    str | None, typer.Option(help="Of many teams: targets that failed since so long ago, such as 6h.")
]
OfType = Annotated[str | None, typer.Option("--type", help="Of many teams: targets of this type.")]
ForReason = Annotated[str | None, typer.Option("--reason", help="Of many teams: targets there for it.")]
Output = Annotated[Form, typer.Option("--output", "-o", help="How the answer is printed.")]
Timeout = Annotated[float, typer.Option(min=0.0, help="Seconds to wait until every target is settled.")]
Targets = Annotated[list[str] | None, typer.Option("--target", "-t", help="Only this one; may be repeated.")]

CALLING: dict[str, tuple[Any, Any]] = {
    # By which options the service is reached, and their defaults.
    "namespace": (
        Annotated[
            str | None,
            typer.Option(
                "--namespace",
                "-n",
                envvar="DELIVERY_NAMESPACE",
                help="The team's, by default `default`; of many teams, by default all.",
            ),
        ],
        None,
    ),
    "url": (
        Annotated[str, typer.Option(envvar="DELIVERY_URL", help="The service's address.")],
        "http://127.0.0.1:8080",
    ),
    "token_file": (
        Annotated[Path | None, typer.Option(help="File with a token; without it DELIVERY_TOKEN counts.")],
        None,
    ),
    "service_account": (
        Annotated[
            str | None,
            typer.Option(
                envvar="DELIVERY_SERVICE_ACCOUNT",
                help="NAME in the team's namespace, or NAMESPACE/NAME: kubectl has a short token made.",
            ),
        ],
        None,
    ),
    "context": (
        Annotated[
            str | None,
            typer.Option(
                envvar="DELIVERY_CONTEXT",
                help="Of the kubeconfig: which cluster is asked for that token; by default its current one.",
            ),
        ],
        None,
    ),
    "audience": (
        Annotated[str, typer.Option(envvar="DELIVERY_AUDIENCE", help="Whom that token is made for.")],
        "agentteam-delivery",
    ),
    "ca_file": (
        Annotated[
            Path | None,
            typer.Option(envvar="DELIVERY_CA_FILE", help="PEM; who signs the service's certificate."),
        ],
        None,
    ),
    "server_name": (
        Annotated[
            str | None,
            typer.Option(
                envvar="DELIVERY_SERVER_NAME",
                help="Whom its certificate must name, where that is not the address's host: through a"
                " port-forward, SERVICE.NAMESPACE.svc.",
            ),
        ],
        None,
    ),
}


def calling(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options by which the service is reached; it takes `namespace` and a `client`."""

    @wraps(command)
    def called(ctx: typer.Context, **given: Any) -> None:
        from app.console.client import Client  # noqa: PLC0415
        from app.console.identity import Identity  # noqa: PLC0415
        from app.console.trouble import checked  # noqa: PLC0415

        reached = {name: given.pop(name) for name in CALLING}
        many = given["team"] is None  # which most commands refuse before it comes to this
        namespace = None if many else "default"
        if reached["namespace"] is not None:
            namespace = checked("--namespace", reached["namespace"], DNS_LABEL)
        if not many:
            checked("the team's name", given["team"], DNS_SUBDOMAIN)
        if server_name := reached["server_name"]:
            checked("--server-name", server_name.lower(), DNS_SUBDOMAIN)
        account = reached["service_account"]
        source = ctx.get_parameter_source("service_account")
        if reached["token_file"] and source and source.name == "ENVIRONMENT":
            account = None  # what is typed wins over the environment
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
    """Deliver a finished team's notices, and show what landed."""
    _follow(client, _event(namespace, team, target), output, timeout)


@people.command(epilog="Example: agentteam-delivery redeliver report -n research --target slack")
@calling
def redeliver(  # noqa: PLR0913
    client: "Client",
    namespace: str | None,
    team: AnyTeam = None,
    *,
    target: Targets = None,
    everything: Annotated[bool, typer.Option("--all", help="What was delivered too.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="What failed, as it is without --all.")] = False,
    all_teams: Annotated[
        bool, typer.Option("--all-teams", help="Of every team, or of all in --namespace; asks first.")
    ] = False,
    since: Since = None,
    kind: OfType = None,
    reason: ForReason = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Of many teams: how many a second.")] = 5.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Of many teams: do not ask first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Of many teams: only show which.")] = False,
    output: Output = Form.TABLE,
    timeout: Timeout = SETTLED,
) -> None:
    """Send again what failed: of one team, or of all teams at once."""
    _one_or_many(team, all_teams, "--all-teams")
    if everything and (failed or all_teams):
        raise typer.BadParameter("--all is of one team, and without --failed")
    if all_teams:
        found = {"phase": "Failed", "since": since, "type": kind, "reason": reason}
        _redeliver_many(client, namespace, found, output, timeout, rate=rate, yes=yes, dry_run=dry_run)
        return
    assert team is not None  # noqa: S101  # one or many
    assert namespace is not None  # noqa: S101  # which one team has
    which = "all" if everything else "failed"
    _follow(client, _event(namespace, team, target, redeliver=which), output, timeout)


@people.command(epilog="Example: agentteam-delivery status report -n research --watch")
@calling
def status(  # noqa: PLR0913
    client: "Client",
    namespace: str | None,
    team: AnyTeam = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Until every target is settled.")] = False,
    all_teams: Annotated[
        bool, typer.Option("--all-teams", "-A", help="Of every team, or of all in --namespace.")
    ] = False,
    phase: Annotated[
        str | None, typer.Option(help="Of many teams: targets in this phase, such as Failed or Pending.")
    ] = None,
    since: Since = None,
    kind: OfType = None,
    reason: ForReason = None,
    output: Output = Form.TABLE,
    timeout: Timeout = SETTLED,
) -> None:
    """Show what is on record of a team's delivery, or of all teams'."""
    _one_or_many(team, all_teams, "--all-teams")
    if all_teams:
        from app.console import bulk  # noqa: PLC0415
        from app.console.printer import Printer  # noqa: PLC0415

        asked = {"phase": phase, "since": bulk.since(since), "type": kind, "reason": reason}
        teams = list(client.find(namespace=namespace, **asked))
        Printer(output).teams({"items": teams})
        raise typer.Exit(int(any(one["phase"] == "Failed" for team in teams for one in team["targets"])))
    assert team is not None  # noqa: S101  # one or many
    assert namespace is not None  # noqa: S101  # which one team has
    _show(client, client.read(namespace, team), output, timeout if watch else None)


@people.command(epilog="Example: agentteam-delivery preview report -n research -o yaml")
@calling
def preview(  # noqa: PLR0913
    client: "Client",
    namespace: str,
    team: Team,
    *,
    target: Targets = None,
    everything: Annotated[bool, typer.Option("--all", help="What is settled too, as a redelivery.")] = False,
    output: Output = Form.TABLE,
) -> None:
    """Show what would be sent where; nothing is sent. The team need not have finished."""
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
    target: Annotated[list[str], typer.Argument(help="The target's name; several may be given.")],
    output: Output = Form.TABLE,
) -> None:
    """Send a target a notice that says that it is a test; nothing is recorded."""
    report = client.post(_event(namespace, team, target, test=True))
    _show(client, report, output, None)


@people.command(epilog="Example: agentteam-delivery validate samples/*.yaml")
def validate(
    file: Annotated[
        list[Path],
        typer.Argument(help="Manifests; documents of other kinds are passed over. A dash is standard input."),
    ],
) -> None:
    """Look at AgentTeam manifests without a cluster; say what is wrong at which line."""
    from app.console.manifests import findings_of  # noqa: PLC0415

    findings = [finding for one in file for finding in findings_of(one)]
    for finding in findings:
        typer.echo(str(finding))
    if not findings:
        typer.echo(f"{len(file)} file{'s' if len(file) > 1 else ''} looked at, nothing to change")
    raise typer.Exit(int(any(not finding.warning for finding in findings)))


def _one_or_many(team: str | None, many: bool, option: str) -> None:  # noqa: FBT001
    if (team is None) != many:
        raise typer.BadParameter(f"give a team's name, or {option}, and not both")


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
    """Show what would be sent again, ask, send at a pace, and print what came of it."""
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
            raise Trouble("nothing was sent: nobody is there to be asked; add --yes, or --dry-run to look")
        typer.confirm("Send them?", abort=True, err=True)
    with printer.counting() as tell:
        reports = list(bulk.redelivered(client, teams, rate=rate, seconds=timeout, tell=tell))
    printer.teams({"items": reports})
    failed = any(target["phase"] == "Failed" for report in reports for target in report["targets"])
    pending = any(report["phase"] == "Pending" for report in reports)
    printer.tell(f"sent again: {bulk.described(reports)}")
    raise typer.Exit(1 if failed else 2 if pending else 0)


def _event(namespace: str, team: str, targets: list[str] | None, **fields: object) -> dict[str, Any]:
    """Return the event's body; what is not asked for is left out."""
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
    """Print a report, after it is settled where there is time for that; leave with what came of it.

    Of a report that names others too, those of `names` say with which exit code.

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
        raise Trouble(f"put off: next try at {at}; the delivery goes on by itself, and `status` shows it")
    if timeout is not None and report["phase"] == "Pending":
        goes_on = "the delivery goes on, and `status` shows it"
        raise Trouble(f"not settled within {timeout:g} s; {report.get('reason') or goes_on}")
    judged = [target for target in report["targets"] if not names or target["name"] in names]
    raise typer.Exit(int(any(target["phase"] == "Failed" for target in judged)))

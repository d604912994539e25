"""The help of a process: below its options, the settings that it reads, out of their declarations."""

import re
from typing import Any, ClassVar, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from app.settings import PREFIX, CommonSettings, ServiceSettings, WatcherSettings

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_SETTING = re.compile(r"`([A-Z]+(?:_[A-Z]+)*)(?==|`)")


class Process(TyperCommand):
    """A command that takes no options, but the environment."""

    settings: ClassVar[type[CommonSettings]]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # Typer's own, of modules that are private
        """Write the help, and every setting with its default and what it is."""
        # Loaded when somebody asks for help: the processes start without what tables need.
        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        from app.console.tables import indented  # noqa: PLC0415

        super().format_help(ctx, formatter)
        console = Console(markup=False, emoji=False, highlight=False)
        head = (
            "Settings are environment variables; durations are seconds, lists are comma-separated. The"
            " cluster is the one the process runs in, else the one that KUBECONFIG names."
        )
        for line in [*indented(Text(head), 1, console), Text()]:
            console.print(line, soft_wrap=True)
        for name, field in self.settings.model_fields.items():
            variable = Text(f" {PREFIX}{name.upper()}", "bold")
            if default := default_of(field):
                variable.append(f"={default}", "dim")
            for line in [variable, *indented(Text(_told(field)), 5, console)]:
                console.print(line, soft_wrap=True)


class Serving(Process):
    """What `serve` reads."""

    settings = ServiceSettings


class Watching(Process):
    """What `watch` reads."""

    settings = WatcherSettings


def default_of(field: FieldInfo) -> str:
    """Return a setting's default as it would be written; nothing where there is none."""
    value: Any = field.default
    if isinstance(value, tuple):
        value = ",".join(str(item) for item in value)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float):
        value = f"{value:g}"
    if value is None or value == "" or isinstance(value, SecretStr):
        return ""
    return str(value).rstrip("/")


def choices_of(field: FieldInfo) -> list[str]:
    """Return the words that a setting may be, where only some may."""
    return [choice for choice in get_args(field.annotation) if isinstance(choice, str)]


def _told(field: FieldInfo) -> str:
    """Return what is said of a setting, without the marks of a page, and with the whole names of others."""
    text = " ".join(_LINK.sub(r"\1", field.description or "").split())
    text = _SETTING.sub(rf"`{PREFIX}\1", text).replace("`", "")
    choices = choices_of(field)
    return f"{' or '.join(choices)}. {text}" if choices else text

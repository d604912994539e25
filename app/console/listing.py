"""The help of a process: its options, and the settings that it reads, from their declarations."""

import ast
import inspect
import re
from itertools import pairwise
from typing import Any, ClassVar, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from app.settings import PREFIX, CommonSettings, ServiceSettings, WatcherSettings

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_SETTING = re.compile(r"`([A-Z]+(?:_[A-Z]+)*)(?==|`)")


class Process(TyperCommand):
    """A command that takes no options and reads the environment."""

    settings: ClassVar[type[CommonSettings]]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # Typer's own, from private modules
        """Write the help, and every setting with its default and its description."""
        # Imported only for the help: the processes start without the table library.
        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        from app.console.tables import indented  # noqa: PLC0415

        super().format_help(ctx, formatter)
        console = Console(markup=False, emoji=False, highlight=False)
        head = (
            "Settings are environment variables; durations are seconds, lists are comma-separated. The"
            " process uses the cluster in which it runs, otherwise the one in KUBECONFIG."
        )
        for line in [*indented(Text(head), 1, console), Text()]:
            console.print(line, soft_wrap=True)
        texts = descriptions(self.settings)
        for name, field in self.settings.model_fields.items():
            variable = Text(f" {PREFIX}{name.upper()}", "bold")
            if default := default_of(field):
                variable.append(f"={default}", "dim")
            for line in [variable, *indented(Text(_told(field, texts[name])), 5, console)]:
                console.print(line, soft_wrap=True)


class Serving(Process):
    """The settings of `serve`."""

    settings = ServiceSettings


class Watching(Process):
    """The settings of `watch`."""

    settings = WatcherSettings


def default_of(field: FieldInfo) -> str:
    """Return a setting's default as a user writes it; empty if there is none."""
    value: Any = field.default
    if isinstance(value, tuple):
        value = ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, float):
        value = f"{value:g}"
    if value is None or value == "" or isinstance(value, SecretStr):
        return ""
    return str(value).rstrip("/")


def choices_of(field: FieldInfo) -> list[str]:
    """Return the allowed values of a setting, if they are limited."""
    return [choice for choice in get_args(field.annotation) if isinstance(choice, str)]


def descriptions(kind: type[CommonSettings]) -> dict[str, str]:
    """Return the text below each setting in the code, by name.

    pydantic can do this too (`use_attribute_docstrings`), but then each start of a process reads the source.
    """
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not issubclass(one, CommonSettings):
            continue
        [declared] = ast.parse(inspect.getsource(one)).body
        assert isinstance(declared, ast.ClassDef)  # noqa: S101  # for the type checker
        for setting, below in pairwise(declared.body):
            match setting, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found


def _told(field: FieldInfo, text: str) -> str:
    """Return a setting's description without markup, and with the full names of other settings."""
    text = " ".join(_LINK.sub(r"\1", text).split())
    text = _SETTING.sub(rf"`{PREFIX}\1", text).replace("`", "")
    choices = choices_of(field)
    return f"{' or '.join(choices)}. {text}" if choices else text

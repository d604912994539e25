"""Finds a folder of Google Drive from its id, or from names such as `Shared Reports/Q3`.

It looks names up level by level in what the account sees. The top level is the shared drives, folders that
were shared with the account itself, and its own.

https://developers.google.com/workspace/drive/api/guides/search-files
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from app.domain.errors import TargetError
from app.domain.reasons import Reason
from app.domain.text import json_object, shortened
from app.egress.client import Response

FOLDER = "application/vnd.google-apps.folder"
LEVELS = 10  # of a path: each requires a request or more
NAME_LIMIT = 300  # characters
PAGES = 5  # of a search that are read
SHARED = {"supportsAllDrives": "true"}
TOP = "what the account sees"

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)

Ask = Callable[[str], Awaitable[Response]]
"""Calls Drive at a path below `/drive/v3`."""


class Refused(Exception):
    """Drive did not answer with a complete list."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


def is_id(folder: str) -> bool:
    """Whether a text can be an id; a name can look like one too."""
    return _ID.fullmatch(folder) is not None


def names_of(folder: str) -> list[str]:
    """Return the names, from the top.

    Raises:
        TargetError: they cannot be looked up.
    """
    names = folder.strip("/").split("/")
    if len(names) > LEVELS or any(not name.strip() or len(name) > NAME_LIMIT for name in names):
        message = f"folder: give an id, or up to {LEVELS} names separated by /, such as Shared Reports/Q3"
        raise TargetError(Reason.INVALID_TARGET, message)
    return names


async def look_up(ask: Ask, names: list[str]) -> str:
    """Return the id of the folder at the path of names.

    Raises:
        TargetError: a level has no folder of that name, or two.
        Refused: Drive gave no usable answer.
    """
    found, where = "", TOP
    for name in names:
        shown = f'"{shortened(name, 100)}"'
        ids = await (_inside(ask, found, name) if found else _at_the_top(ask, name))
        if not ids:
            message = f"folder: there is no {shown} in {where}; make it, or share it with the account"
            raise TargetError(Reason.INVALID_TARGET, message)
        if len(ids) > 1:
            message = f"folder: {len(ids)} are called {shown} in {where}; give the id of one of them"
            raise TargetError(Reason.INVALID_TARGET, message)
        (found,) = ids
        where = shown
    return found


async def _at_the_top(ask: Ask, name: str) -> set[str]:
    drives = {"q": f"name = {_quoted(name)}", "fields": "nextPageToken,drives(id,name)", "pageSize": "100"}
    own = f"{_called(name)} and ('root' in parents or sharedWithMe = true)"
    return await _ids(ask, "/drives", drives, "drives", name) | await _ids(
        ask, "/files", _folders(own), "files", name
    )


async def _inside(ask: Ask, parent: str, name: str) -> set[str]:
    query = f"{_called(name)} and '{parent}' in parents"
    return await _ids(ask, "/files", {**_folders(query), "corpora": "allDrives"}, "files", name)


def _called(name: str) -> str:
    return f"mimeType = '{FOLDER}' and name = {_quoted(name)} and trashed = false"


def _folders(query: str) -> dict[str, str]:
    return {
        "q": query,
        "fields": "nextPageToken,incompleteSearch,files(id,name)",
        "pageSize": "100",
        "includeItemsFromAllDrives": "true",
        **SHARED,
    }


def _quoted(name: str) -> str:
    """Return a name quoted for a query, so that no name can end its own quotation."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


async def _ids(ask: Ask, path: str, query: dict[str, str], kind: str, name: str) -> set[str]:
    """Return the ids of everything with this name; Drive compares names without regard to case."""
    found: set[str] = set()
    page: Any = ""
    for _ in range(PAGES):
        answer = await ask(f"{path}?{urlencode({**query, **({'pageToken': page} if page else {})})}")
        said = (json_object(answer.body) or {}) if answer.status == 200 else {}  # noqa: PLR2004  # HTTP's OK
        listed, page = said.get(kind), said.get("nextPageToken", "")
        if not isinstance(listed, list) or not isinstance(page, str) or said.get("incompleteSearch") is True:
            raise Refused(answer)
        for one in listed:
            identity = one.get("id") if isinstance(one, dict) and one.get("name") == name else None
            if isinstance(identity, str) and is_id(identity):
                found.add(identity)
        if not page:
            return found
    raise Refused(answer)

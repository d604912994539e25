"""Google's token endpoint and Drive's files: a strict server on loopback."""

import base64
import functools
import json
import re
import secrets
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt

EMAIL = "reporter@project.iam.gserviceaccount.com"
KEY_ID = "a1b2c3"
SCOPE = "https://www.googleapis.com/auth/drive"
QUERY = re.compile(
    r"'([\w-]+)' in parents and trashed = false"
    r" and appProperties has \{ key='(\w+)' and value='(\w+)' \}",
    re.ASCII,
)


_QUOTED = r"'((?:[^'\\]|\\.)*)'"
NAMED = re.compile(rf"name = {_QUOTED}")
FOLDERS = re.compile(
    r"mimeType = 'application/vnd\.google-apps\.folder' and name = '(?P<name>(?:[^'\\]|\\.)*)'"
    r" and trashed = false and "
    r"(?:(?P<top>\('root' in parents or sharedWithMe = true\))|'(?P<parent>[\w-]+)' in parents)"
)


def same(name: str, quoted: str) -> bool:
    """Compare a name with one in a query, without regard to case, as Drive does."""
    return name.lower() == re.sub(r"\\(.)", r"\1", quoted).lower()


@functools.cache
def private_key(number: int) -> rsa.RSAPrivateKey:
    """Create the account's key; each number gives another key."""
    del number
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def service_account(*, key: int = 0, **changes: Any) -> str:
    """Write the key file of a service account in Google's format."""
    pem = private_key(key).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": KEY_ID,
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "token_uri": "https://oauth2.googleapis.com/token",
        **changes,
    }
    return json.dumps({name: value for name, value in info.items() if value is not None}, indent=2)


def decoded(part: bytes) -> bytes:
    """Decode a part of a JWT (RFC 7515, section 2)."""
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


@dataclass(frozen=True)
class File:
    """A created file."""

    id: str
    metadata: dict[str, Any]
    kind: str
    content: str
    query: dict[str, str]


@dataclass
class Failure:
    """How a request fails: an answer, or None for no answer; `stored`: the file is stored nevertheless."""

    status: int = 0
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    stored: bool = False
    body: str | None = None


@dataclass
class Drive:
    """Both servers; `failing` lists how the next requests fail, per `token`, `search` or `upload`."""

    port: int = 0
    files: list[File] = field(default_factory=list)
    tokens: dict[str, float] = field(default_factory=dict)  # and when each expires
    life: int = 3599
    empty_pages: int = 0  # empty pages of a search before its last one, as Google may send
    failing: dict[str, list[Failure]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    drives: dict[str, str] = field(default_factory=dict)  # shared drives, by id
    folders: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By id: names and parents; the parent `root` is the account's own, `shared` another account's."""
    strict: bool = False  # only these folders exist; otherwise any id is a folder's

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def key_file(self, **changes: Any) -> str:
        """The key file of an account that requests its tokens here."""
        return service_account(**{"token_uri": f"{self.url}/token", **changes})

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_get("/drive/v3/files", self._search)
        app.router.add_get("/drive/v3/drives", self._list_drives)
        app.router.add_post("/upload/drive/v3/files", self._upload)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _token(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("token")
        if failure := self._failure("token"):
            return self._failed(request, failure)
        form = await request.post()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assertion = str(form["assertion"]).encode()
        public = private_key(0).public_key()
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        signed, _, signature = assertion.rpartition(b".")
        header, claims = (json.loads(decoded(part)) for part in signed.split(b"."))
        good = (
            crypt.verify_signature(signed, decoded(signature), pem)  # type: ignore[no-untyped-call]  # ships no types
            and header == {"typ": "JWT", "alg": "RS256", "kid": KEY_ID}
            and set(claims) == {"iss", "scope", "aud", "iat", "exp"}
            and claims["iss"] == EMAIL
            and claims["scope"] == SCOPE
            and claims["aud"] == f"{self.url}/token"
            and abs(claims["iat"] - time.time()) < 300
            and 0 < claims["exp"] - claims["iat"] <= 3600
        )
        if not good:
            said = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return web.json_response(said, status=400)
        token = f"ya29.{secrets.token_urlsafe(24)}"
        self.tokens[token] = time.time() + self.life
        said_ = {"access_token": token, "expires_in": self.life, "token_type": "Bearer"}
        return web.json_response(said_)

    async def _list_drives(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("drives")
        if failure := self._failure("drives") or self._stranger(request):
            return self._failed(request, failure)
        named = NAMED.fullmatch(request.query["q"])
        if named is None or request.query["fields"] != "nextPageToken,drives(id,name)":
            return self._failed(request, Failure(400, "invalid"))
        found = [{"id": one, "name": name} for one, name in self.drives.items() if same(name, named[1])]
        return web.json_response({"drives": found})

    def _list_folders(self, request: web.Request, wanted: re.Match[str]) -> web.StreamResponse:
        self.asked.append("folders")
        if failure := self._failure("folders") or self._stranger(request):
            return self._failed(request, failure)
        query = request.query
        shared = query.get("supportsAllDrives") == query.get("includeItemsFromAllDrives") == "true"
        fields = query["fields"] == "nextPageToken,incompleteSearch,files(id,name)"
        name, top, parent = wanted["name"], wanted["top"], wanted["parent"]
        if not shared or not fields or (parent and query.get("corpora") != "allDrives"):
            return self._failed(request, Failure(400, "invalid"))
        parents = {"root", "shared"} if top else {parent}
        found = [
            {"id": one, "name": called}
            for one, (called, home) in self.folders.items()
            if same(called, name) and home in parents
        ]
        return web.json_response({"files": found, "incompleteSearch": False})

    async def _search(self, request: web.Request) -> web.StreamResponse:
        if folders := FOLDERS.fullmatch(request.query["q"]):
            return self._list_folders(request, folders)
        self.asked.append("search")
        if failure := self._failure("search") or self._stranger(request):
            return self._failed(request, failure)
        query = request.query
        wanted = QUERY.fullmatch(query["q"])
        shared = query.get("supportsAllDrives") == query.get("includeItemsFromAllDrives") == "true"
        if wanted is None or not shared or query.get("fields") != "nextPageToken,files(id)":
            return self._failed(request, Failure(400, "invalid"))
        if self.strict and wanted[1] not in {*self.drives, *self.folders}:
            return self._failed(request, Failure(404, "notFound"))
        page = int(query.get("pageToken", "page-0").removeprefix("page-"))
        if page < self.empty_pages:
            return web.json_response({"files": [], "nextPageToken": f"page-{page + 1}"})
        folder, name, value = wanted.groups()
        found = [
            {"id": file.id}
            for file in self.files
            if folder in file.metadata["parents"] and file.metadata["appProperties"].get(name) == value
        ]
        return web.json_response({"files": found[: int(query["pageSize"])]})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        self.asked.append("upload")
        failure = self._failure("upload") or self._stranger(request)
        if failure and not failure.stored:
            return self._failed(request, failure)
        query = dict(request.query)
        assert query["uploadType"] == "multipart"
        body = await request.read()
        kind = request.headers["content-type"]
        assert kind.startswith("multipart/related; boundary=")
        boundary = kind.partition('boundary="')[2].removesuffix('"')
        first, *parts, last = f"\r\n{body.decode()}".split(f"\r\n--{boundary}")
        assert (first, last) == ("", "--\r\n")
        (metadata_kind, metadata), (content_kind, content) = (
            part.removeprefix("\r\nContent-Type: ").split("\r\n\r\n", 1) for part in parts
        )
        assert metadata_kind == "application/json; charset=UTF-8"
        if query.get("supportsAllDrives") != "true":
            return self._failed(request, Failure(404, "notFound"))
        file = File(
            id=f"1{secrets.token_urlsafe(20)}",
            metadata=json.loads(metadata),
            kind=content_kind,
            content=content,
            query=query,
        )
        properties = file.metadata["appProperties"].items()
        assert all(len((key + value).encode()) <= 124 for key, value in properties)
        self.files.append(file)
        return self._failed(request, failure) if failure else web.json_response({"id": file.id})

    def _failure(self, of: str) -> Failure | None:
        failures = self.failing.get(of)
        return failures.pop(0) if failures else None

    def _stranger(self, request: web.Request) -> Failure | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return None if self.tokens.get(token, 0) > time.time() else Failure(401, "authError")

    def _failed(self, request: web.Request, failure: Failure) -> web.StreamResponse:
        if not failure.status:
            assert request.transport
            request.transport.abort()
            return web.Response()
        error = {"code": failure.status, "message": "No.", "errors": [{"reason": failure.reason}]}
        text = json.dumps({"error": error}) if failure.body is None else failure.body
        return web.Response(
            status=failure.status, text=text, headers=failure.headers, content_type="application/json"
        )

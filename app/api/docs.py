"""`/docs`: the API's description to read and to try out, without resources from other hosts.

Its scripts and styles are Swagger UI's, from the package fastapi-swagger. It uses only these files of the
package, because the package's page needs inline scripts.
"""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from fastapi import APIRouter, Request, Response

DIRECTIVES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",  # Swagger UI's icons are data: URLs in its styles
    "connect-src 'self'",  # the description, and requests that people try out
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
"""https://www.w3.org/TR/CSP3/"""

HEADERS = {
    "content-security-policy": "; ".join(DIRECTIVES),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # checked by ETag each time, because another version may answer by then
}

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>agentteam-delivery</title>
<link rel="icon" href="docs/icon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="explorer"></div>
<noscript>Without scripts, the description itself: <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

# Requests go to the origin of the page, including any proxy's prefix. No validator, which would send the
# description's address to a foreign server. A token stays in the page.
START = """\
const service = new URL(".", document.baseURI).pathname.replace(/\\/$/, "");
fetch("openapi.json")
  .then((answer) => answer.json())
  .then((spec) => SwaggerUIBundle({
    spec: { ...spec, servers: [{ url: service || "/" }] },
    dom_id: "#explorer",
    validatorUrl: null,
    persistAuthorization: false,
    deepLinking: true,
    displayRequestDuration: true,
  }))
  .catch((error) => {
    document.getElementById("explorer").textContent = `The description cannot be read: ${error}`;
  });
"""

BUNDLED = files("fastapi_swagger") / "resources"
FILES = {
    "/swagger-ui.js": "swagger-ui-bundle.js",
    "/swagger-ui.css": "swagger-ui.css",
    "/icon.png": "favicon-32x32.png",
}

router = APIRouter(prefix="/docs", include_in_schema=False)


@cache
def _loaded(name: str) -> tuple[bytes, str]:
    """Return the content of a path, and its ETag; it stays in memory after the first request for it."""
    written = {"": PAGE, "/start.js": START}
    content = written[name].encode() if name in written else (BUNDLED / FILES[name]).read_bytes()
    return content, f'"{sha256(content).hexdigest()[:32]}"'


def _route(path: str, kind: str) -> None:
    """Answer GET and HEAD, with 304 if the browser has it already (RFC 9110, section 13)."""

    async def answer(request: Request) -> Response:
        content, etag = _loaded(path)
        headers = {**HEADERS, "etag": etag}
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    router.add_api_route(path, answer, methods=["GET", "HEAD"])


_route("", "text/html")
_route("/start.js", "text/javascript")
_route("/swagger-ui.js", "text/javascript")
_route("/swagger-ui.css", "text/css")
_route("/icon.png", "image/png")

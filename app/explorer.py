"""`/docs`: the API's description to read and to try out, with nothing that comes from elsewhere.

Scripts and styles are Swagger UI's, as the package fastapi-swagger brings them; of that package only these
files are used, since its page would want scripts inline.
"""

from functools import partial
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

DIRECTIVES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",  # Swagger UI's icons are data: URLs in its styles
    "connect-src 'self'",  # the description, and what is tried out
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
"""https://www.w3.org/TR/CSP3/"""

HEADERS = {
    "content-security-policy": "; ".join(DIRECTIVES),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # asked for anew: another version may answer by then
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

# No validator: it would send the description's address to a server of others. A token stays in the page.
START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#explorer",
  validatorUrl: null,
  persistAuthorization: false,
  deepLinking: true,
  displayRequestDuration: true,
});
"""

router = APIRouter(prefix="/docs", include_in_schema=False)


@router.get("")
async def page() -> Response:
    """Return the page."""
    return Response(PAGE, media_type="text/html", headers=HEADERS)


@router.get("/start.js")
async def start() -> Response:
    """Return the script that begins."""
    return Response(START, media_type="text/javascript", headers=HEADERS)


async def _asset(path: Path) -> FileResponse:
    return FileResponse(path, headers=HEADERS)


for _name, _file in {
    "swagger-ui.js": "swagger-ui-bundle.js",
    "swagger-ui.css": "swagger-ui.css",
    "icon.png": "favicon-32x32.png",
}.items():
    _path = Path(str(files("fastapi_swagger") / "resources" / _file))
    router.add_api_route(f"/{_name}", partial(_asset, _path))

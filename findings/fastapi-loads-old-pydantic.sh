#!/usr/bin/env bash
# FastAPI: an application whose models are all of the current pydantic loads all of pydantic.v1, which FastAPI no longer supports.
#
# Library:    fastapi 0.165.0, pydantic 2.14.3 (Python)
# Behaviour:  for each parameter and model, FastAPI asks whether it is a model of pydantic.v1, in order to refuse it, and imports that
#             package for the question. If the import fails, the answer is no, and everything works as before.
# Surprise:   one route with one typed parameter makes every process import 23 modules that nothing uses: 2 MB for as long as it runs, and
#             35 ms of CPU at each start.
# Seen:       23 modules of pydantic.v1 loaded; without them: 0 loaded, the route answers 200 all the same
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastapi==0.165.0 pydantic==2.14.3
cat > "$folder/count.py" <<'PYTHON'
import asyncio
import sys

if sys.argv[1:] == ["without"]:
    sys.modules["pydantic.v1"] = None  # its import fails

from fastapi import FastAPI
from pydantic import BaseModel


class Item(BaseModel):
    """A model of the current pydantic."""

    name: str


app = FastAPI(openapi_url=None)


@app.get("/items")
async def items(limit: int = 1) -> list[Item]:
    return [Item(name="one")] * limit


async def ask():
    """Make one request; return its status."""
    statuses = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/items", "raw_path": b"/items", "root_path": "", "query_string": b"limit=2", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return statuses[0]


status = asyncio.run(ask())
print(sum(module is not None and name.startswith("pydantic.v1") for name, module in sys.modules.items()), status)
PYTHON
read -r loaded status < <("$folder/venv/bin/python" "$folder/count.py" 2> /dev/null)
read -r left all_the_same < <("$folder/venv/bin/python" "$folder/count.py" without 2> /dev/null)
echo "$loaded modules of pydantic.v1 loaded; without them: $left loaded, the route answers $all_the_same all the same"
[[ $loaded -gt 10 && $status == 200 && $left == 0 && $all_the_same == 200 ]]

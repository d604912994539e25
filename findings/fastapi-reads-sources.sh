#!/usr/bin/env bash
# FastAPI: the first valid request to a route reads and tokenizes the source file of its function, in the event loop.
#
# Library:    fastapi 0.165.0, starlette 1.10.0 (Python)
# Behaviour:  each route's first request asks inspect.getsourcelines for the function's line, to be named in the text of a
#             validation error, whether or not there is one. That reads the file from the disk and tokenizes the function.
# Surprise:   a valid request pays for the text of an error that it does not cause, while every other request waits; here 16 ms for
#             a function of 602 lines. Usually that is a probe of readiness, which is the first request of a new pod.
# Seen:       first request: 603 lines tokenized, 16.6 ms; second request: 0 lines tokenized, 0.6 ms
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastapi==0.165.0 starlette==1.10.0
cat > "$folder/routes.py" <<'PYTHON'
from fastapi import FastAPI

app = FastAPI()


@app.get("/ready")
async def ready() -> str:
PYTHON
for number in $(seq 600); do echo "    value = $number" >> "$folder/routes.py"; done
echo '    return "ready"' >> "$folder/routes.py"
cat > "$folder/ask.py" <<'PYTHON'
import asyncio
import inspect
import sys
import time

import routes

lines = 0
plain = inspect.getsourcelines


def counted(function):
    global lines
    found = plain(function)
    lines += len(found[0])
    return found


inspect.getsourcelines = counted


async def ask():
    """Make one request; return how many lines were tokenized for it, and its milliseconds."""
    global lines
    lines, statuses, began = 0, [], time.perf_counter()

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": "/ready", "raw_path": b"/ready", "root_path": "", "query_string": b"", "headers": [],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }
    await routes.app(scope, receive, send)
    assert statuses[0] == 200, statuses
    return lines, (time.perf_counter() - began) * 1e3


async def main():
    routes.app.openapi_url = None
    (first, slow), (second, quick) = await ask(), await ask()
    print(f"first request: {first} lines tokenized, {slow:.1f} ms; second request: {second} lines tokenized, {quick:.1f} ms")
    return first > 600 and second == 0


sys.exit(not asyncio.run(main()))
PYTHON
cd "$folder" && venv/bin/python ask.py

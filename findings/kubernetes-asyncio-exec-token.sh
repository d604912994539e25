#!/usr/bin/env bash
# kubernetes_asyncio: the token of an exec plugin is fetched once, and never again after it has ended.
#
# Library:    kubernetes_asyncio 36.1.0
# Behaviour:  load_kube_config() runs the plugin of a kubeconfig and keeps its token in the Configuration. Neither
#             the end that the plugin names (expirationTimestamp) nor a 401 makes it run again.
# Surprise:   kubectl and client-go run it again at both; a process that lives for longer than a token (15 minutes
#             with some clouds) then gets only 401.
# Seen:       runs of the plugin: 1; answers: [401, 401, 401]
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kubernetes_asyncio==36.1.0
FOLDER="$folder" "$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import os
import pathlib
import sys

from aiohttp import web
from kubernetes_asyncio import client, config

folder = pathlib.Path(os.environ["FOLDER"])
plugin = folder / "plugin"
plugin.write_text(
    f"""#!{sys.executable}
import json, pathlib
runs = pathlib.Path({str(folder / 'runs')!r})
with runs.open("a") as file:
    file.write("x")
status = {{"token": f"token-{{len(runs.read_text())}}", "expirationTimestamp": "2020-01-01T00:00:00Z"}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""
)
plugin.chmod(0o755)
answers = []


async def version(request):
    """Take the second token and later ones, as after the first has ended."""
    status = 401 if request.headers.get("authorization") == "Bearer token-1" else 200
    answers.append(status)
    return web.json_response({}, status=status)


async def main():
    app = web.Application()
    app.router.add_get("/version/", version)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "interactiveMode": "Never",
        }
    }
    kubeconfig = folder / "config"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "a", "user": user}],
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "current-context": "a",
            }
        )
    )
    await config.load_kube_config(config_file=str(kubeconfig))
    async with client.ApiClient() as api:
        for _ in range(3):
            try:
                await client.VersionApi(api).get_code()
            except client.ApiException:
                pass
            except ValueError:  # an empty object is no version
                pass
    await runner.cleanup()
    runs = len((folder / "runs").read_text())
    print(f"runs of the plugin: {runs}; answers: {answers}")
    return runs == 1 and answers == [401, 401, 401]


sys.exit(not asyncio.run(main()))
PYTHON

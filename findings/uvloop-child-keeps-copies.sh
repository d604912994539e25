#!/usr/bin/env bash
# uvloop: a program that redirects all its output still holds a copy of its way to its parent, and so do the programs that it starts.
#
# Library:    uvloop 0.23.0 (Python)
# Behaviour:  `create_subprocess_exec(..., stdout=PIPE, stderr=PIPE)` leaves the child's ends of both open in the child under numbers of
#             their own, beside 1 and 2, although `close_fds` is true by default.
# Surprise:   a program starts an agent in the background, with the agent's output sent to /dev/null, and ends, as credential plugins of
#             kubeconfigs may. `communicate()` of asyncio returns its output at once, that of uvloop when the agent ends (here: 4 s).
# Seen:       asyncio: 0 copies, token at once; uvloop: 1 copies, token late
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.23.0
cat > "$folder/run.py" <<'PYTHON'
import asyncio
import os
import sys
import time

import uvloop

COUNT = "import os; fds = os.listdir('/proc/self/fd'); here = [os.stat(int(f)).st_ino for f in fds if os.path.exists('/proc/self/fd/' + f)]; print(here.count(os.fstat(1).st_ino) - 1)"
AGENT = "sleep 4 > /dev/null 2>&1 & echo token"


async def main():
    """Print how many copies of its output a child has, and whether `communicate()` waited for the child's agent."""
    said = []
    for command in ([sys.executable, "-c", COUNT], ["bash", "-c", AGENT]):
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        said += [printed.decode().strip(), "late" if time.monotonic() - began > 3 else "at once"]
    print(f"{said[0]} copies, {said[2]} {said[3]}")


(asyncio.run if sys.argv[1] == "asyncio" else uvloop.run)(main())
PYTHON
plain=$("$folder/venv/bin/python" "$folder/run.py" asyncio)
fast=$("$folder/venv/bin/python" "$folder/run.py" uvloop)
echo "asyncio: $plain; uvloop: $fast"
[[ $plain == "0 copies, token at once" && $fast == "1 copies, token late" ]]

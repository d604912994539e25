#!/usr/bin/env bash
# c-ares: two lines of a hosts file that have one name in common become one line.
#
# Library:    c-ares 1.34.9, in pycares 5.2.1
# Behaviour:  a line whose name stands in an earlier one is merged into it: all names get all addresses of both.
# Surprise:   hosts(5): each line gives its own names its own address. With `10.0.0.1 a.test b.test` and
#             `10.0.0.2 b.test c.test`, `a.test` is 10.0.0.1 alone for glibc; for c-ares it is 10.0.0.2 too, and
#             c.test is 10.0.0.1 too: a request goes to a host that nobody named so. Kubernetes writes such lines
#             for two `hostAliases` with one name in common.
# Seen:       a.test: 10.0.0.1 10.0.0.2; b.test: 10.0.0.1 10.0.0.2; c.test: 10.0.0.1 10.0.0.2
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pycares==5.2.1
printf '10.0.0.1 a.test b.test\n10.0.0.2 b.test c.test\n' > "$folder/hosts"
# The file is named by the environment: the flag ARES_AI_ENVHOSTS lets it be. No name server is asked.
CARES_HOSTS=$folder/hosts "$folder/venv/bin/python" - <<'PYTHON'
import socket
import sys

import pycares

ENVHOSTS = 1 << 8  # ARES_AI_ENVHOSTS
seen = {}
channel = pycares.Channel(servers=["127.0.0.1:9"], timeout=0.1, tries=1)
for name in ("a.test", "b.test", "c.test"):
    def told(result, error, name=name):
        seen[name] = sorted(node.addr[0].decode() for node in result.nodes) if result else error

    channel.getaddrinfo(name, 80, family=socket.AF_INET, flags=ENVHOSTS, callback=told)
channel.wait(5)
channel.close()
print("; ".join(f"{name}: {' '.join(map(str, seen[name]))}" for name in seen))
sys.exit(seen != dict.fromkeys(("a.test", "b.test", "c.test"), ["10.0.0.1", "10.0.0.2"]))
PYTHON

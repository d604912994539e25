#!/usr/bin/env bash
# kubernetes_asyncio: what is installed beside it decides how long its import takes; with two packages, five times as long.
#
# Libraries:  kubernetes_asyncio 36.1.0, kubernetes-validate 1.37.0, jsonschema 4.26.0, rfc3987-syntax 1.1.0 (Python)
# Behaviour:  kubernetes_asyncio imports kubernetes-validate if it is installed, which imports jsonschema. That imports
#             rfc3987-syntax if it is installed, as it is by jsonschema's extra format-nongpl, and so by packages as far
#             away as a writer of bills of materials. rfc3987-syntax compiles 39 Lark grammars at its import.
# Surprise:   a program that only talks to an API server compiles the grammars of IRIs at each start, seconds of CPU, once
#             a developer installs the two packages beside it; nothing validates, and nothing is logged.
# Seen:       alone: 0 grammars, 0.80 s; beside kubernetes-validate: 0 grammars, 1.44 s; beside rfc3987-syntax too: 39 grammars, 4.15 s
# Exit code:  0 while the libraries behave like this, 1 once they do not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
add() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
grammars() {
  "$folder/venv/bin/python" - <<'PYTHON'
import time

try:
    import lark
except ModuleNotFoundError:
    lark = None
made = 0
if lark:
    plain = lark.Lark.__init__

    def counted(self, *arguments, **options):
        global made
        made += 1
        plain(self, *arguments, **options)

    lark.Lark.__init__ = counted
began = time.process_time()
import kubernetes_asyncio

print(f"{made} grammars, {time.process_time() - began:.2f} s of CPU")
PYTHON
}
add kubernetes_asyncio==36.1.0
alone=$(grammars)
add kubernetes-validate==1.37.0 jsonschema==4.26.0
beside=$(grammars)
add rfc3987-syntax==1.1.0
all=$(grammars)
echo "alone: $alone; beside kubernetes-validate: $beside; beside rfc3987-syntax too: $all"
[[ "$alone $beside $all" == '0 grammars'*' 0 grammars'*' 39 grammars'* ]]

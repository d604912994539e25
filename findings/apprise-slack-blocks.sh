#!/usr/bin/env bash
# Apprise: with blocks=yes, its Slack messages exceed the limits of Block Kit, so a long report is not shown at all.
#
# Library:    apprise 2.3.0 (Python)
# Behaviour:  the title goes into one header and the body into one section, each whole: the plugin's own limits (250 and 35,000
#             characters) are those of a message without blocks.
# Surprise:   Slack takes at most 150 characters in a header and 3,000 in a section, and rejects a message with a longer one. Without
#             blocks=yes, the same title and body are within its limits; overflow=split and overflow=truncate count the same way.
#             https://docs.slack.dev/reference/block-kit/blocks/header-block
#             https://docs.slack.dev/reference/block-kit/blocks/section-block
# Seen:       a title of 200 and a body of 4,000 characters, overflow=upstream, split, truncate: header 200, section 4000
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apprise==2.3.0
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys

import apprise
import requests

sent = []


def keep(session, request, **_):
    """Take a request instead of the network, and answer as Slack does."""
    sent.append(json.loads(request.body))
    answer = requests.Response()
    answer.status_code, answer._content, answer.request, answer.url = 200, b"ok", request, request.url
    return answer


requests.Session.send = keep
found = []
for overflow in ("upstream", "split", "truncate"):
    sent.clear()
    slack = apprise.Apprise()
    slack.add(f"slack://T00000000/B00000000/{'x' * 24}/?blocks=yes&overflow={overflow}")
    assert slack.notify(title="t" * 200, body="b" * 4000)
    blocks = {block["type"]: block for message in sent for block in message["attachments"][0]["blocks"]}
    found.append(tuple(len(blocks[kind]["text"]["text"]) for kind in ("header", "section")))
print("header and section, by overflow:", found)
sys.exit(found != [(200, 4000)] * 3)
PYTHON

#!/usr/bin/env bash
# standardwebhooks: a timestamp with a time zone other than UTC is signed as another moment.
#
# Library:    standardwebhooks 1.1.0 (Python)
# Behaviour:  Webhook.sign replaces the zone of the given datetime with UTC, and does not convert it.
# Surprise:   the signature is for a moment that is as far off as the zone, so the same library rejects a message whose
#             webhook-timestamp is the datetime's own. Standard Webhooks signs the seconds since the epoch:
#             https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
# Seen:       UTC: verified; +02:00: No matching signature found; of the moment two hours later: the same signature
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check standardwebhooks==1.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from datetime import datetime, timedelta, timezone

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook("whsec_" + "a2V5" * 8)
BODY = '{"event": "team.completed"}'


def outcome(when):
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": webhook.sign("msg_1", when, BODY),
    }
    try:
        webhook.verify(BODY, headers)
    except WebhookVerificationError as error:
        return str(error)
    return "verified"


now = datetime.now(timezone.utc)
berlin = now.astimezone(timezone(timedelta(hours=2)))
assert now == berlin
later = webhook.sign("msg_1", now + timedelta(hours=2), BODY)
same = "the same signature" if webhook.sign("msg_1", berlin, BODY) == later else "another signature"
print(f"UTC: {outcome(now)}; +02:00: {outcome(berlin)}; of the moment two hours later: {same}")
sys.exit((outcome(now), outcome(berlin), same) != ("verified", "No matching signature found", "the same signature"))
PYTHON

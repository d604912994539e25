#!/usr/bin/env bash
# aiosmtplib: one call of login() with a wrong password is several failed log-ins at the relay.
#
# Library:    aiosmtplib 5.1.3, against aiosmtpd 1.4.6
# Behaviour:  login() tries the password by every mechanism that the relay offers, also after "535 5.7.8
#             authentication credentials invalid", which says that the password is wrong, not the mechanism.
# Surprise:   a relay that locks an account after three failures locks it at the second call.
# Seen:       calls of login: 1, failed log-ins at the relay: ['LOGIN', 'PLAIN']
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check aiosmtplib==5.1.3 aiosmtpd==1.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import sys
import warnings

import aiosmtplib
from aiosmtpd.smtp import SMTP, AuthResult

warnings.simplefilter("ignore")
tried = []


def judge(server, session, envelope, mechanism, data):
    tried.append(mechanism)
    return AuthResult(success=False, handled=False)


async def main():
    loop = asyncio.get_running_loop()
    relay = await loop.create_server(
        lambda: SMTP(object(), authenticator=judge, auth_require_tls=False), "127.0.0.1", 0
    )
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=relay.sockets[0].getsockname()[1], start_tls=False)
    await client.connect()
    try:
        await client.login("ann", "wrong")
    except aiosmtplib.SMTPAuthenticationError as error:
        print("answered:", error.code)
    client.close()
    relay.close()
    print("calls of login: 1, failed log-ins at the relay:", sorted(tried))
    return len(tried) > 1


sys.exit(not asyncio.run(main()))
PYTHON

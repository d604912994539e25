#!/usr/bin/env bash
# pycares: `lookups` and `resolvconf_path` are freed before c-ares reads them.
#
# Library:    pycares 5.2.1, with c-ares 1.34.9 in it
# Behaviour:  Channel.__init__ sets `options.lookups = _ffi.new('char[]', ...)`. A field of a struct keeps nothing
#             alive in cffi, so the text is freed before `ares_init_options` copies it; other memory may stand there.
# Surprise:   Channel(lookups="f") is documented, and a few channels in a thousand get other look-ups than were asked
#             for, mostly none at all: every name "Could not contact DNS servers", for as long as the channel lives.
#             In a process that opens one channel at its start, that is the process.
# Seen:       5000 channels, each asked for "f": some have "", " ", "@" and the like; without the option all have "fb"
# Exit code:  0 while the library behaves like this, 1 once it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pycares==5.2.1
"$folder/venv/bin/python" - <<'PYTHON'
import collections
import sys

from pycares import Channel, _ffi, _lib


def lookups(**options):
    """Return what c-ares itself says that it was told."""
    channel = Channel(**options)
    told, mask = _ffi.new("struct ares_options *"), _ffi.new("int *")
    _lib.ares_save_options(channel._channel[0], told, mask)
    said = _ffi.string(told.lookups) if told.lookups != _ffi.NULL else None
    channel.close()
    return said


# Not asked for: c-ares saves none that came from the system, so that any value here would be a fault of ours.
print("not asked for:", dict(collections.Counter(lookups() for _ in range(200))))
asked = collections.Counter(lookups(lookups="f") for _ in range(5000))
print('asked for "f":', dict(asked))
sys.exit(not (asked[b"f"] and asked.total() > asked[b"f"]))
PYTHON

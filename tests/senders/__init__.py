"""One sender at a time, against receivers that are faked at the wire."""

"""How an answer is printed."""

from enum import StrEnum


class Form(StrEnum):
    """A table for people, one with all that is on record, or a document for programs."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

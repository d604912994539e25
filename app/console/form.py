"""Output formats."""

from enum import StrEnum


class Form(StrEnum):
    """A table for people, a table with the whole record, or a document for programs."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

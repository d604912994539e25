"""How an answer is printed."""

from enum import StrEnum


class Form(StrEnum):
    """A table for people, or a document for programs."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"

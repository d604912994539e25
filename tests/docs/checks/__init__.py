"""Checks of the documents that complement running their blocks; each fault begins with its place."""

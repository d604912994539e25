"""The documents: what they show is so."""

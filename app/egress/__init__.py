"""Outgoing connections: which addresses are allowed, and the clients that connect to them."""

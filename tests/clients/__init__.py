"""The generated clients: made, compiled, and driven against a live service."""

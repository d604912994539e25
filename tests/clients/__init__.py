"""The generated clients: generated, compiled, and run against a live service."""

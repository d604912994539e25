"""A team to try first, and a demo of a complete delivery (`python -m samples.demo`)."""

"""Real pods."""

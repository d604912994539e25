"""The chart in real pods."""

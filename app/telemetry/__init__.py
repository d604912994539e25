"""Observability of the processes: log lines, metrics, traces."""

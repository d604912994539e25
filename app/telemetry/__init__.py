"""What the processes show of themselves: log lines, metrics, traces."""

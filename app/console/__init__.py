"""Commands for people, over the service's HTTP API: what landed, what would, and once more what did not."""

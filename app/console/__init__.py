"""Commands for people, over the service's HTTP API: read outcomes, preview, test and redeliver."""

"""What the tests use: two Kubernetes APIs, a client for both, and a receiver of notifications."""

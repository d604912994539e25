"""What the tests stand on: two Kubernetes APIs, a client that speaks to either, and a receiver of notices."""

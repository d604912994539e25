"""The Kubernetes API: the connection, and the calls that the service makes on it."""

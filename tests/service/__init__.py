"""The service as its callers see it: real processes, real HTTP, a fake and a real Kubernetes API."""

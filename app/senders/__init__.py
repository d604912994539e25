"""The notification, and one sender per type of target."""

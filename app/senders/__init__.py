"""What goes out: the notification, and one sender per type of target."""

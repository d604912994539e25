"""What to try first: a team to apply, and the main job shown at work (`python -m samples.demo`)."""

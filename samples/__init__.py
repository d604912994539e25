"""What to try first: a team to apply, and a demo of the main job (`python -m samples.demo`)."""

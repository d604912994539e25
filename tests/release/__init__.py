"""A release, built once, and the command line that it installs."""

"""The parts of a release, built once, and the command line that it installs."""

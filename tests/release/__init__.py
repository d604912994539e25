"""What a release is made of, made once, and the command line that it installs."""

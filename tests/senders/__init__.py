"""One sender at a time, against receivers that are faked on the network."""

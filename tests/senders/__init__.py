"""Each sender on its own, against fake receivers on the network."""

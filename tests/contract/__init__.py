"""The behaviour of other systems on which the service relies, tested on the real ones and their fakes."""

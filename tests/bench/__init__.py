"""The cost of a delivery: this service, the minimum, and comparable tools, measured in one run."""

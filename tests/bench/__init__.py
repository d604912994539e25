"""The cost of a delivery: this service, the minimum, and comparable tools, side by side in one run."""

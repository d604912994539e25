"""What a delivery costs: this service, the floor beneath it, and its peers, side by side in one run."""

"""The way out: which addresses may be called, and the clients that call them."""

"""Speaking to a running node."""

"""The systems that are measured, Innkeeper and its peers, all driven in the same way."""

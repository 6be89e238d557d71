"""The root daemon: wanted sites beside actual ones, and the steps between."""

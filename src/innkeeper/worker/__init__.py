"""What happens in the forked process."""

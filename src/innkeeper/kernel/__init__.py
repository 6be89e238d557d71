"""One Linux facility a module; knows no sites."""

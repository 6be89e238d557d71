"""nginx, and what it reads: the constant configuration, the routing tree, the logs, the pages."""

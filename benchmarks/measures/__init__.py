"""What is measured, a module each: every one takes systems that are started by it and gives plain figures."""

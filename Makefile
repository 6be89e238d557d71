# The usual names for what scripts/ does.
.PHONY: setup demo test check bench docs lock
setup demo test check bench lock:
	@scripts/$@
docs: check

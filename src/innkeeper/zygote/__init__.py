"""The warm parent that workers are forked from."""

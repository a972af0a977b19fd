"""A stack of processes on this machine."""

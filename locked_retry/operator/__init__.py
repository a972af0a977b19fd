"""For people: the command line, dead letters, what waits, and figures."""

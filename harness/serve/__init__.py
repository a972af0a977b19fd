"""The store of runs in a browser: lists, reports, two runs beside each other, and runs that go on. On loopback only."""

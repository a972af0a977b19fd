"""HTTP: the interface of Toxiproxy 2.12, and beside it that of rules, journal and events."""

"""A case from start to end: phases, faults, and the wait until everything has come to rest."""

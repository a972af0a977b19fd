"""Connections: who listens, the two ends, the links between them and the toxics on these, in order."""

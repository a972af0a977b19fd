"""Known-bad implementations, one bug each, with their twins."""

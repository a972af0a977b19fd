"""Known-bad implementations, one bug each, and their twins: the same with just that bug mended."""

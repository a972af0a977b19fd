"""Subjects that ship with taskchaos: controls that must be caught, and peers to compare with."""

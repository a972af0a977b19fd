"""Runs a chaos case and judges it."""

__version__ = "0.1.0"

"""Runs a chaos case and judges it."""

__version__ = "0.2.0"

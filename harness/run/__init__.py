"""A run of many cases: its folder and options, shards and their merge, replays, and what a signal does."""

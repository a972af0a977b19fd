"""The pytest plugin of a chaos run, and `taskchaos run`, which is one."""

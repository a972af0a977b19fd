"""A stack of containers, made by the compose file."""

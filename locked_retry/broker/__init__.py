"""What is in Redis: key names, scripts, and connections that fail in order."""

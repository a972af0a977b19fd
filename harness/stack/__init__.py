"""The stack of a case: Redis, the proxy with a link per role, producers and workers."""

"""locked_retry: the reference retry implementation for Celery on Redis.

The package stands alone: it imports nothing of the harness, the faults or the suites.
"""

"""The wall to Celery: nowhere else are names used that are private to Celery, kombu, billiard or redis-py."""

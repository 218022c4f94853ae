"""A newsletter: Celery, SQLAlchemy and hermetic."""

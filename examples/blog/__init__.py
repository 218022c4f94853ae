"""A blog: Flask, SQLAlchemy and hermetic."""

"""A shop: FastAPI, SQLAlchemy and hermetic."""

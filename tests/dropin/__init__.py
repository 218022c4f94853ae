"""SQLAlchemy's session classes and factories by hermetic's names, with SQLAlchemy's behaviour."""

"""Tests of the fast paths, which may differ from SQLAlchemy in nothing but time."""

import pytest

pytest.register_assert_rewrite("tests.fast.comparing")

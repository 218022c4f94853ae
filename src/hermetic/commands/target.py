"""What a command was told to work on, by ``module:attribute``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from .. import ConfigurationError, HermeticError


def named(name: str, default: str) -> Any:
    """What an application calls so, or what its function of that name gives.

    :param default: the attribute where only the module is named.
    :raises ImportError: there is no such module.
    :raises ConfigurationError: the application's own code fails. Its text may hold a secret.
    """
    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute or default, None)
        return found() if callable(found) else found
    except (HermeticError, ImportError):
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{name} cannot be had: it raises {type(error).__name__}.",
            hint=f"See: python -c 'import {module}'",
        ) from error

"""The newsletter as Celery's and the relay's commands find it.

    celery --workdir examples -A newsletter.app worker
    cd examples && hermetic relay newsletter.app:relay
    celery --workdir examples -A newsletter.app call publish --args '["News", "There are some."]'

On a SQLite file, newsletter.db, and a folder of messages, newsletter-messages, unless
``NEWSLETTER_URL`` is another database and ``NEWSLETTER_BROKER`` another broker.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .tasks import create

_broker = os.environ.get("NEWSLETTER_BROKER", "filesystem://")
_settings: dict[str, Any] = {}
if _broker == "filesystem://":
    _folder = Path("newsletter-messages")
    _folder.mkdir(exist_ok=True)
    _settings["broker_transport_options"] = {
        "data_folder_in": str(_folder),
        "data_folder_out": str(_folder),
        "control_folder": str(_folder / "control"),
    }

newsletter = create(
    os.environ.get("NEWSLETTER_URL", "sqlite:///newsletter.db"), _broker, **_settings
)
app = newsletter.app
relay = newsletter.relay

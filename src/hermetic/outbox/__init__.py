"""A transactional outbox: messages written in a scope's transaction, and sent after its commit."""

from .async_relay import AsyncRelay
from .box import Outbox, Waiting
from .inbox import Inbox
from .message import Message
from .relay import Relay

__all__ = ["AsyncRelay", "Inbox", "Message", "Outbox", "Relay", "Waiting"]

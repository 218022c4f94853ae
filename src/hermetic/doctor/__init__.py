"""What is wrong or risky with the servers, drivers, pools and options of an application."""

from .examining import examine
from .findings import Finding, Looked, Report, Severity, Unseen

__all__ = ["Finding", "Looked", "Report", "Severity", "Unseen", "examine"]

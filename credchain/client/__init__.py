"""What asks nodes: it verifies every answer, and tries the next node after a bad one."""

from .client import Client, Location, Mail

__all__ = ["Client", "Location", "Mail"]

"""For all tests: how long an example of hypothesis takes says nothing on a shared machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("credchain", deadline=None)
settings.load_profile("credchain")

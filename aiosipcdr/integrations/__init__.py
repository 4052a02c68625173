"""Doors to other worlds: web frameworks and telemetry, each optional, imported lazily; imports nothing itself."""

"""Integrations with web frameworks and telemetry.

Each is a module to be imported by its name; this one imports neither them nor their dependencies.
"""

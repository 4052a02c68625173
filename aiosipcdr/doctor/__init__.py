"""Diagnosis of an account: checks of its settings, and a probe of what the vendor does not document."""

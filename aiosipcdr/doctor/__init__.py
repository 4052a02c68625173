"""Diagnosis of an account's settings, and of what the vendor's page leaves open."""

"""Tables that stay right: the calls of a range in a database, kept equal to the vendor's list.

`diff` decides what changed, `spans` what to read, `synchronizer` runs both, and `targets` write: one module for each
kind of database.
"""

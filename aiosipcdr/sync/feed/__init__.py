"""Feed of changes: what was added, changed and vanished in the vendor's list since the last poll.

A poll is a run of `aiosipcdr.sync.synchronizer` whose target stores digests of rows instead of rows: `rows` makes and
packs them, `checkpoint` stores them, `target` turns the batches of a run into changes, `reader` finds what has changed
with few requests, `handoff` passes changes to the caller, and `follower` polls.
"""

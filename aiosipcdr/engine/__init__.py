"""Engine: workers that send the requests of plans, and the streams that callers read.

Completeness is decided by the plans, retries by the policies.
"""

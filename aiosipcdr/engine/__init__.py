"""The engine: workers that send what plans ask for, and the streams that callers read.

Decides nothing about completeness (the plans do) and nothing about patience
(the policies do); opens no session.
"""

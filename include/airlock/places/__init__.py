"""Where Airlock keeps things: local folders and object stores, alike for ledgers and backups.

Knows paths and bytes. Must not know records, recovery points or what is in them.
"""

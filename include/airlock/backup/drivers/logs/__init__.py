"""Drivers of the kind ``logs``: one module per driver."""

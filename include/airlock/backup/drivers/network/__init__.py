"""Drivers of the kind ``network``: one module per driver."""

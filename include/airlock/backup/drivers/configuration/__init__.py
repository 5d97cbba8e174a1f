"""Drivers of the kind ``configuration``: one module per driver."""

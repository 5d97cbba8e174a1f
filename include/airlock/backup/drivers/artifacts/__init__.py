"""Drivers of the kind ``artifacts``: one module per driver."""

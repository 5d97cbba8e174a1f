"""Drivers of the kind ``security``: one module per driver."""

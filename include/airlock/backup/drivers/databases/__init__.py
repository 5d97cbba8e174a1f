"""Drivers of the kind ``databases``: one module per driver."""

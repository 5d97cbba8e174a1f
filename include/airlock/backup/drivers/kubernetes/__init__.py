"""Drivers of the kind ``kubernetes``: one module per driver."""

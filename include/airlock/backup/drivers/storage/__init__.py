"""Drivers of the kind ``storage``: one module per driver."""

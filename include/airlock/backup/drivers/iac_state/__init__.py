"""Drivers of the kind ``iac_state``: one module per driver."""

"""Drivers of the kind ``cicd``: one module per driver."""

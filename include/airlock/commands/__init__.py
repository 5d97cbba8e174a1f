"""The commands of ``python -m airlock``, one module for each group."""

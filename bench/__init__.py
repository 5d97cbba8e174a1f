"""Figures that are measured, printed and kept, and never asserted in tests: ``make bench``."""

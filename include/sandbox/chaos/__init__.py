"""Breaks what a release runs on, at a chosen moment, and looks whether the release lands all the same."""

"""Modules that share one running sandbox: a package, so that it is stopped as soon as the last of them has ended."""

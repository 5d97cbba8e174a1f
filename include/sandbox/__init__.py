"""The embedded stack of ``make demo``: starts and stops real servers on loopback; holds no product logic."""

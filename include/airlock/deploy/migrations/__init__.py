"""Databases whose schema releases change: applying migrations and going back behind them."""

"""The object stores that places can lie in, each behind the contract in ``airlock.places.store``."""

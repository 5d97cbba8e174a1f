"""Every decision of a release, computed again from its evidence alone and compared with what is on record."""

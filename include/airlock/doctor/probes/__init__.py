"""One module for each system that can be asked: they turn what is declared (``models.needs``) into questions."""

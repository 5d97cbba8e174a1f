"""What SQL of a migration does, told from the tree that PostgreSQL's own grammar makes of it."""

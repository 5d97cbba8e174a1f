"""What the ledgers say of the past, for rules that look back. Reads; decides and writes nothing."""

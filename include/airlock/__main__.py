"""Entry of ``python -m airlock``."""

import sys

try:
    from airlock.commands.main import main

    code = main()
except KeyboardInterrupt:
    # Ctrl-C while the libraries are still loading.
    code = 130
sys.exit(code)

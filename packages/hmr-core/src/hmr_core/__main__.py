"""`python -m hmr_core` is the `hmr` command."""

import sys

from hmr_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

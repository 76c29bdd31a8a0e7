"""`python -m devskyy` is `devskyy`."""

import sys

from devskyy.cli.app import main

if __name__ == "__main__":
    sys.exit(main())

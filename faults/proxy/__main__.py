"""``python -m faults.proxy``: the proxy as a process of its own."""

import sys

from .server import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m taskchaos.faults.proxy``: the proxy as a process of its own."""

import sys

from taskchaos.faults.proxy.server import main

if __name__ == "__main__":
    sys.exit(main())

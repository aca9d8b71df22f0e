"""A receiver on a machine that lets it have 200 descriptors and no more."""

import resource
import sys

import quick  # noqa: F401 (it makes waits short)

from receiver.__main__ import main

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    sys.exit(main())

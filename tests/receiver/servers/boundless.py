"""A receiver with a fault: it takes a body apart however many parts it has."""

import sys

from receiver import event
from receiver.__main__ import main

event.MAX_PARTS = 2**62

if __name__ == "__main__":
    sys.exit(main())

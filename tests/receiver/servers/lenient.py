"""A receiver with a fault: a signature in capitals will do."""

import sys

from receiver.__main__ import main
from receiver.signature import Check

_accepts = Check.accepts
Check.accepts = lambda check, signature: _accepts(check, signature.lower())  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    sys.exit(main())

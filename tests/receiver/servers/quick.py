"""A receiver whose waits are short: what it does after them is what a test looks at."""

import sys

from receiver import server
from receiver.__main__ import main
from receiver.admin import server as admin
from receiver.admin import view

server.LEAVING_SECONDS = 0.1
admin.GRACE_SECONDS, admin.RETRY_SECONDS = 0.3, 0.5
admin.FRESH_SECONDS = view.FRESH_SECONDS = 0.1  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(main())

"""What the engine starts: `python -m provider <engine address>`."""

import os
import sys

# gRPC's own handlers around fork() crash about one child in four of those that we start under another account, where
# Python can't use vfork(). Ours exec at once and need no handlers. Read when gRPC is imported.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from provider.serve import serve

if __name__ == "__main__":
    serve(sys.argv[1:])

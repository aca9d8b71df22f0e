"""What the engine starts: `python -m provider <engine address>`."""

import os
from pathlib import Path

# gRPC's own handlers around fork() crash about one child in four of those that we start under another account, where
# Python can't use vfork(). Ours exec at once and need no handlers. Read when gRPC is imported.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from provider import postgres
from provider.plugin import SluiceProvider
from provider.serve import serve

VERSION = "0.1.0"

if __name__ == "__main__":
    postgres.forget_psqls_settings()
    serve(lambda say: SluiceProvider(Path(__file__).resolve().parent.parent, say), VERSION)

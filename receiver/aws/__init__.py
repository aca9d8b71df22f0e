"""The receiver as a function on AWS: the same answers, with DynamoDB as registry and Firehose as spool.

An event's way is `handler`, `registry`, `lake`. The runtime has botocore; orjson and these files come in the zip.
"""

OVERSIZED = "oversized/"
"""The folder of the bucket for bodies that are too large for a record: the function's role may write there alone."""

USED = "used:"
"""Before a hash: the key of the registry's item that says when its endpoint was last used. No other may be updated."""

MODULES = (
    "receiver/__init__.py",
    "receiver/answers.py",
    "receiver/event.py",
    "receiver/refusals.py",
    "receiver/rows.py",
    "receiver/signature.py",
    "receiver/token.py",
    "receiver/aws/__init__.py",
    "receiver/aws/handler.py",
    "receiver/aws/lake.py",
    "receiver/aws/log.py",
    "receiver/aws/records.py",
    "receiver/aws/registry.py",
    "receiver/aws/services.py",
)
"""The files of the project that the function consists of, as paths from its root."""

"""The receiver as a function on AWS: the same answers, with DynamoDB as registry and Firehose as spool."""

"""An event's way into the lake: Firehose is the spool, and once it has the record, the event is stored."""

import threading
import time

from receiver.aws import log, records
from receiver.aws.registry import Endpoint
from receiver.aws.services import Attempt, Unavailable
from receiver.event import Event, Rejection


class Lake:
    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._sequence = 0
        self._lock = threading.Lock()

    def store(self, endpoint: Endpoint, parsed: Event | Rejection, received_at: int, attempt: Attempt) -> None:
        """Returns once Firehose has the row; `received_at` is in µs since 1970. Raises Unavailable."""
        moment = records.Moment(received_at, time.time_ns() // 1_000, self._next_sequence())
        record = records.whole(parsed, moment)
        if len(record) > records.LARGEST:
            # The body first: a row never points to nothing.
            record = records.slim(parsed, moment, self._keep_body(endpoint, parsed, moment, attempt))
        _put(endpoint.stream, record, attempt)

    def _keep_body(
        self, endpoint: Endpoint, parsed: Event | Rejection, moment: records.Moment, attempt: Attempt
    ) -> str:
        """Puts the body into the bucket: an event's JSON, decompressed, or an unusable one as it came. Its URI."""
        key = records.body_key(endpoint.schema, moment)
        body = parsed.body if isinstance(parsed, Event) else parsed.raw
        attempt.ask("s3", "put_object", Bucket=self._bucket, Key=key, Body=body)
        log.say("INFO", "kept an oversized body beside its row", schema=endpoint.schema, bytes=len(body), key=key)
        return f"s3://{self._bucket}/{key}"

    def _next_sequence(self) -> int:
        """Nanoseconds since 1970, but never the same twice and never back, whatever the clock does."""
        with self._lock:
            self._sequence = max(self._sequence + 1, time.time_ns())
            return self._sequence


def _put(stream: str, record: bytes, attempt: Attempt) -> None:
    answer = attempt.ask("firehose", "put_record_batch", DeliveryStreamName=stream, Records=[{"Data": record}])
    # A call that succeeds may still have failed for its record.
    [response] = answer.get("RequestResponses") or [{}]
    if answer.get("FailedPutCount") or not response.get("RecordId"):
        raise Unavailable("firehose", response.get("ErrorCode") or "NoRecordId")

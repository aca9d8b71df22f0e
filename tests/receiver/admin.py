"""One request to a receiver's status page, as any program on this machine may make it."""

import http.client

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.receiver.running import Reply
from tests.support.waiting import until


def get(port: int, path: str, method: str = "GET", host: str | None = None, body: bytes | None = None) -> Reply:
    """Waits for the port to be there, as it is a moment after the receiver's."""

    def ask() -> Reply | None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, path, body, {} if host is None else {"Host": host})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        except ConnectionRefusedError:
            return None
        finally:
            connection.close()

    reply: Reply = until(ask)
    return reply


def metrics(port: int) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels, which come in the order of their names; never older than a second."""
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples(port)}


def samples(port: int) -> list[Sample]:
    reply = get(port, "/metrics")
    assert reply.status == 200, reply
    return [sample for family in text_string_to_metric_families(reply.body.decode()) for sample in family.samples]

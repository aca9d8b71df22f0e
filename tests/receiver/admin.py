"""One request to a receiver's status page, as any program on this machine may make it."""

import http.client

from tests.receiver.running import Reply, until


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

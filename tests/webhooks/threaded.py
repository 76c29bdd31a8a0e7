"""A receiver in a thread, for tests that are no coroutines: it takes all that it is told, and keeps it.

with told_by_thread() as receiver:
    client.create_webhook(receiver.url)
    headers, body = receiver.told.get(timeout=30)
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue


class ThreadedReceiver(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.told: Queue[tuple[dict[str, str], bytes]] = Queue()
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: ThreadedReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()
        self.server.told.put((dict(self.headers), body))

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def told_by_thread() -> Iterator[ThreadedReceiver]:
    with ThreadedReceiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()

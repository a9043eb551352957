"""A server of Google's object store on loopback; run as a program, it prints its port.

It is a process of its own because Arrow keeps Python's lock while it waits for an answer, and one
that takes several connections at once because Google's client keeps the last one open.
"""

import sys
from functools import partial
from http.server import ThreadingHTTPServer

from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage


def serve(bucket: str) -> None:
    storage = Storage(use_memory_fs=True)
    create_bucket(bucket, storage)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RequestHandler, storage))
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    serve("bucket")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""store.py [--fork] PORT: keeps objects and sends them by sendall(), each as it was stored.

It speaks the client's own protocol, "tcp": "put KEY LENGTH" and the object, "get KEY".
"""

import socketserver
import sys

objects = {}


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        while line := self.rfile.readline():
            word, key, *length = line.split()
            if word == b"put":
                objects[key] = self.rfile.read(int(length[0]))
                self.wfile.write(b"stored\n")
                continue
            held = objects.get(key)
            if held is None:
                self.request.sendall(b"none\n")
                continue
            self.request.sendall(b"%d\n" % len(held))
            self.request.sendall(held)


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100


class Children(socketserver.ForkingTCPServer):
    """What one child stored, others do not have; so the first connection fills here."""

    allow_reuse_address = True
    request_queue_size = 100
    filled = False

    def process_request(self, request, client_address):
        if self.filled:
            super().process_request(request, client_address)
            return
        self.filled = True
        self.finish_request(request, client_address)
        self.shutdown_request(request)


def main():
    server = Children if sys.argv[1] == "--fork" else Threads
    with server(("127.0.0.1", int(sys.argv[-1])), Handler) as running:
        running.serve_forever()


if __name__ == "__main__":
    main()

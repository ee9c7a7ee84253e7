#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""changed.py PORT [CERTIFICATE]: objects that are changed while they are in flight; by TLS.

A page in the middle of an object says which change was the last. Clients that read slowly
ask for it all the time. Each must get an object as it was after one change, and each byte of
it of that one: what is on its way when the next one comes is still that of the one before.
"""

import socket
import ssl
import sys
import threading
import time

PORT = int(sys.argv[1])
CERTIFICATE = sys.argv[2] if len(sys.argv) > 2 else None
SIZE, CHANGES, READERS = 150000, 300, 12
failed = []
seen = set()
stopped = threading.Event()


def content(number):
    return b"%06d," % number * (SIZE // 7)


def connect(rcvbuf=None):
    sock = socket.socket()
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", PORT))
    if not CERTIFICATE:
        return sock
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False
    return context.wrap_socket(sock)


def head_of(sock):
    got = b""
    while b"\r\n\r\n" not in got:
        more = sock.recv(1)
        if not more:
            raise OSError("closed")
        got += more
    return got


def change(sock, number):
    """All of it, but by the call that writes where it lies."""
    data = content(number)
    sock.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: %d\r\nContent-Range: bytes 0-%d/%d\r\n\r\n"
                 % (len(data), len(data) - 1, len(data)) + data)
    if b" 204 " not in head_of(sock):
        raise OSError("the change was refused")


def read(number):
    try:
        # What the socket's buffers hold is in flight for a while.
        sock = connect(4096 if number % 2 else None)
        while not stopped.is_set():
            sock.sendall(b"GET /x HTTP/1.1\r\n\r\n")
            head_of(sock)
            if number % 3:
                time.sleep(0.02)
            got = b""
            while len(got) < SIZE // 7 * 7:
                more = sock.recv(20000)
                if not more:
                    raise OSError("closed")
                got += more
            which = got[:7]
            if got != which * (SIZE // 7):
                failed.append(f"mixed: {which} and others")
                return
            seen.add(which)
    except OSError as error:
        failed.append(str(error))


with connect() as writer:
    first = content(0)
    writer.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(first) + first)
    head_of(writer)
    threads = [threading.Thread(target=read, args=(i,)) for i in range(READERS)]
    for thread in threads:
        thread.start()
    for i in range(1, CHANGES):
        change(writer, i)
        if failed:
            break
    stopped.set()
    for thread in threads:
        thread.join()
for what in failed:
    print(what, file=sys.stderr)
print(f"# {len(seen)} of {CHANGES} changes were seen, each whole")
sys.exit(1 if failed or len(seen) < 2 else 0)

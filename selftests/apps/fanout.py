#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""fanout.py PORT CASE: many subscribers, fast, slow and late, and messages of all sizes.

    all N       N subscribers, of which some come late, and a quarter reads nothing before all
                is said, and then slowly: each gets each message from when it came, in order,
                and every byte of it is compared
    limit SIZE  one that does not read is dropped once it has SIZE bytes to get; others go on
    late SIZE SECONDS   or after SECONDS with more than SIZE
"""

import random
import select
import socket
import sys
import time

PORT = int(sys.argv[1])
CHANNEL = b"c"


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def message(number):
    """What is in it is known by its number, which is in it."""
    rng = random.Random(number)
    size = rng.choice((10, 1000, 4096, 20000, 65536, 65536, 65536, 300000))
    return b"%08d" % number + rng.randbytes(64) * (size // 64 + 1)


def frame(data):
    return b"*3\r\n$7\r\nmessage\r\n$1\r\n%s\r\n$%d\r\n%s\r\n" % (CHANNEL, len(data), data)


def connect(rcvbuf=None):
    sock = socket.socket()
    if rcvbuf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    sock.settimeout(60)
    sock.connect(("127.0.0.1", PORT))
    return sock


def subscribe(rcvbuf=None):
    sock = connect(rcvbuf)
    sock.sendall(request(b"SUBSCRIBE", CHANNEL))
    wanted = b"*3\r\n$9\r\nsubscribe\r\n$1\r\n%s\r\n:1\r\n" % CHANNEL
    got = b""
    while len(got) < len(wanted):
        got += sock.recv(len(wanted) - len(got))
    if got != wanted:
        sys.exit(f"subscribed: {got!r}")
    return sock


class Publisher:
    def __init__(self):
        self.sock = connect()
        self.file = self.sock.makefile("rb")

    def publish(self, data):
        self.sock.sendall(request(b"PUBLISH", CHANNEL, data))
        line = self.file.readline()
        if not line.startswith(b":"):
            sys.exit(f"published: {line!r}")
        return int(line[1:])


class Subscriber:
    """Compares with the stream that is to come: all frames from first on."""

    def __init__(self, first, slow, frames):
        self.sock = subscribe(8192 if slow else None)
        self.sock.setblocking(False)
        self.number, self.pos, self.slow, self.frames = first, 0, slow, frames

    def read(self):
        try:
            got = self.sock.recv(16000 if self.slow else 1 << 18)
        except BlockingIOError:
            return
        if not got:
            sys.exit(f"the server ended it at message {self.number}")
        at = 0
        while at < len(got):
            wanted = self.frames[self.number]
            n = min(len(got) - at, len(wanted) - self.pos)
            if got[at:at + n] != wanted[self.pos:self.pos + n]:
                sys.exit(f"wrong bytes in message {self.number} near {self.pos}")
            self.pos += n
            at += n
            if self.pos == len(wanted):
                self.number, self.pos = self.number + 1, 0


def everybody(count):
    nr = 100
    frames = [frame(message(i)[:2000 if count > 1000 else None]) for i in range(nr)] + [b""]
    poll = select.epoll()
    subs = {}

    def more(first, some):
        for i in range(some):
            sub = Subscriber(first, i % 4 == 3, frames)
            subs[sub.sock.fileno()] = sub
            poll.register(sub.sock, select.EPOLLIN)

    def turn(timeout, all_said=False):
        for fd, _ in poll.poll(timeout):
            if all_said or not subs[fd].slow:
                subs[fd].read()

    more(0, count - count // 8)
    publisher = Publisher()
    for i in range(nr):
        if i == nr // 2:
            more(i, count // 8)
        data = message(i)[:2000 if count > 1000 else None]
        if publisher.publish(data) != len(subs):
            sys.exit(f"message {i} did not go to all")
        turn(0)
    deadline = time.monotonic() + 200
    while any(sub.number < nr for sub in subs.values()):
        if time.monotonic() > deadline:
            sys.exit("some wait in vain: " + str([s.number for s in subs.values()][:50]))
        turn(1, all_said=True)
    print(f"# {len(subs)} subscribers, {nr} messages, all of them right")


def dropped(size, seconds=0):
    """The one that does not read, and another that does."""
    lazy, eager = subscribe(4096), subscribe()
    publisher = Publisher()
    data, sent = bytes(65536), 0
    wanted = len(frame(data))
    until = time.monotonic() + seconds
    past = 0
    while True:
        got = publisher.publish(data)
        sent += 1
        left = wanted
        while left:
            left -= len(eager.recv(left))
        if got == 1:
            break
        if seconds:
            time.sleep(0.2)
        past = sent * wanted
        if past > 8 * size + (64 << 20):
            sys.exit("it is never dropped")
    lazy.settimeout(60)
    got = 0
    try:
        while True:
            more = lazy.recv(1 << 16)
            if not more:
                break
            got += len(more)
    except ConnectionResetError:
        pass
    print(f"# dropped after {past} bytes, of which it could read {got}")
    if past < size:
        sys.exit("dropped too early")
    if seconds and time.monotonic() < until:
        sys.exit("dropped too soon")


if sys.argv[2] == "all":
    everybody(int(sys.argv[3]))
else:
    dropped(*map(int, sys.argv[3:]))

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""hold.py capture | clients PORT | memory: is in the way of others, until it is killed.

A packet capture whose packets nobody reads, or clients of memcached that ask for all
objects again and again and do not read what they get, keep in flight what was sent. Or
it takes most of the memory there is, again and again.
"""

import signal
import socket
import sys
import time

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33



def memory():
    """Take what is there but for an eighth, and give it back; so for ever."""
    while True:
        with open("/proc/meminfo", encoding="ascii") as file:
            words = dict(line.split(":") for line in file)
        left = int(words["MemAvailable"].split()[0]) * 1024
        taken = [bytearray(b"x") * (1 << 20) for _ in range(left * 7 // 8 >> 20)]
        time.sleep(0.5)
        del taken
        time.sleep(0.5)


held = []
if sys.argv[1] == "capture":
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    capture.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
    capture.bind(("lo", 0))
    held.append(capture)
elif sys.argv[1] == "memory":
    memory()
else:
    for _ in range(20):
        client = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
        client.sendall(b"".join(b"get k%d\r\n" % key for key in range(16)) * 4)
        held.append(client)
print("ready", flush=True)
signal.pause()

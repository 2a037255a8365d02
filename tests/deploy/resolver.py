"""A name server for one name: app.example is 127.0.0.1. Listens on 127.0.0.1:53 until it is killed.

    python3 tests/deploy/resolver.py
"""

import socket
import struct

listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", 53))
print("ready", flush=True)
NAME = b"\x03app\x07example\x00"
while True:
    query, client = listener.recvfrom(512)
    identifier, question = query[:2], query[12:]
    end = question.index(0) + 1
    name, kind = question[:end], struct.unpack("!H", question[end : end + 2])[0]
    known = name.lower() == NAME
    answers = known and kind == 1
    # Flags: an answer, authoritative, with recursion; no such name: 3.
    header = struct.pack("!HHHHH", 0x8580 | (0 if known else 3), 1, int(answers), 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 60, 4, socket.inet_aton("127.0.0.1")) if answers else b""
    listener.sendto(identifier + header + question[: end + 4] + record, client)

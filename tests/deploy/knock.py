"""Opens one TLS connection after the other and asks for a page on each, until a file appears. One failure is a failure.
After the first answer it makes FILE.begun.

    python3 tests/deploy/knock.py ADDRESS FILE
"""

import os
import socket
import ssl
import sys
import time

address, enough = sys.argv[1:]
context = ssl._create_unverified_context()
answered, worst = 0, 0.0
while not os.path.exists(enough):
    began = time.monotonic()
    with socket.create_connection((address, 443), timeout=30) as plain, context.wrap_socket(plain) as tls:
        tls.sendall(b"GET / HTTP/1.0\r\nHost: callbox\r\n\r\n")
        answer = tls.makefile("rb").readline()
        assert answer.split()[1] == b"200", answer
        answered += 1
    if answered == 1:
        open(enough + ".begun", "w").close()
    worst = max(worst, time.monotonic() - began)
    time.sleep(0.01)
print(f"{answered} connections, none refused, the slowest {worst * 1000:.0f} ms")

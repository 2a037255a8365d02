"""A service manager in small: owns the listening sockets, starts a process on them for each line of input, prints its pid."""

import os
import socket
import subprocess
import sys

port, binary, config, log = int(sys.argv[1]), *sys.argv[2:5]


def bound(kind):
    one = socket.socket(socket.AF_INET6, kind)
    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind == socket.SOCK_DGRAM:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("::", port))
    return one


sockets = [bound(socket.SOCK_STREAM), bound(socket.SOCK_DGRAM), bound(socket.SOCK_DGRAM)]
sockets[0].listen(100)
# Out of the way first: the numbers that they need may be their own.
high = [os.dup2(one.fileno(), 100 + at) for at, one in enumerate(sockets)]
for at, number in enumerate(high):
    os.dup2(number, 3 + at)

for _ in sys.stdin:
    command = 'LISTEN_FDS=3 LISTEN_PID=$$ exec "$0" serve --config "$1"'
    with open(log, "ab") as output:
        child = subprocess.Popen(
            ["sh", "-c", command, binary, config], pass_fds=(3, 4, 5), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    print(child.pid, flush=True)

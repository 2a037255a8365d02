"""A name server for tests: python3 names.py ADDRESS NAME=ADDRESS... (several addresses of one name: several times)."""

import ipaddress
import socket
import sys


def answer(query, records):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    kind = int.from_bytes(query[at + 1 : at + 3], "big")
    question = query[12 : at + 5]
    addresses = records.get(".".join(labels))
    found = [ip.packed for ip in addresses or [] if kind == (1 if ip.version == 4 else 28)]
    flags = 0x8180 if addresses is not None else 0x8183
    head = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(found).to_bytes(2, "big") + bytes(4)
    rest = b"".join(
        b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data
        for data in found
    )
    return head + question + rest


def main():
    address, *pairs = sys.argv[1:]
    records = {}
    for pair in pairs:
        name, ip = pair.split("=")
        records.setdefault(name, []).append(ipaddress.ip_address(ip))
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    print("ready", flush=True)
    while True:
        query, client = server.recvfrom(1500)
        server.sendto(answer(query, records), client)


main()

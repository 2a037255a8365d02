"""Two peers of aiortc with a data channel between them, over relays only.

    relay.py URL USERNAME PASSWORD

Exit code 0 only if every message came back, over relayed candidates on both sides. TLS is checked
against the certificates of SSL_CERT_FILE.
"""

import asyncio
import logging
import os
import sys

from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
)

MESSAGES = 200
PATIENCE = float(os.environ.get("CALLBOX_TEST_PATIENCE", 60))


def message(n: int) -> bytes:
    """Differs from its neighbours in length and content; some need padding, some two packets."""
    return bytes((n * 7 + k) % 256 for k in range(1 + n * 13 % 2500))


async def exchange(url: str, username: str, password: str) -> None:
    configuration = RTCConfiguration(
        iceServers=[RTCIceServer(urls=url, username=username, credential=password)],
        iceTransportPolicy=RTCIceTransportPolicy.RELAY,
    )
    caller, callee = RTCPeerConnection(configuration), RTCPeerConnection(configuration)
    done = asyncio.get_running_loop().create_future()
    returned: list[bytes] = []

    @callee.on("datachannel")
    def on_datachannel(channel):
        channel.on("message", channel.send)

    channel = caller.createDataChannel("test")

    @channel.on("open")
    def on_open():
        for n in range(MESSAGES):
            channel.send(message(n))

    @channel.on("message")
    def on_message(data):
        returned.append(data)
        if len(returned) == MESSAGES and not done.done():
            done.set_result(None)

    await caller.setLocalDescription(await caller.createOffer())
    offer = caller.localDescription
    await callee.setRemoteDescription(RTCSessionDescription(offer.sdp, offer.type))
    await callee.setLocalDescription(await callee.createAnswer())
    answer = callee.localDescription
    await caller.setRemoteDescription(RTCSessionDescription(answer.sdp, answer.type))
    await done

    assert returned == [message(n) for n in range(MESSAGES)], "messages differ"
    for peer in (caller, callee):
        candidates = peer.sctp.transport.transport.iceGatherer.getLocalCandidates()
        kinds = {candidate.type for candidate in candidates}
        assert kinds == {"relay"}, f"candidates: {kinds}"
    await caller.close()
    await callee.close()
    print(f"{len(returned)} messages came back through {url}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(asyncio.wait_for(exchange(*sys.argv[1:4]), PATIENCE))

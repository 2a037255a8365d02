"""An HTTPS server that says what time it is, or was: python3 date.py ADDRESS PORT CERTIFICATE KEY SECONDS-AHEAD."""

import email.utils
import http.server
import ssl
import sys
import time


class Directory(http.server.BaseHTTPRequestHandler):
    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(time.time() + AHEAD, usegmt=True)

    def do_GET(self):
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_GET


ADDRESS, PORT, CERTIFICATE, KEY, AHEAD = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])
server = http.server.ThreadingHTTPServer((ADDRESS, PORT), Directory)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()

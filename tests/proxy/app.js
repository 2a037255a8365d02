// A small application as somebody might write one: a page, a counter that is posted to, a slow answer,
// and a WebSocket that sends back what it gets. Node's own modules only.
//
// PORT says where to listen; what is printed first is the port in use.

'use strict';

const { createHash } = require('node:crypto');
const { createServer } = require('node:http');

let posted = 0;

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://application');
  if (pathname === '/app/') {
    response.setHeader('Content-Type', 'text/html; charset=utf-8');
    response.end(`<!doctype html><title>node</title><p>${request.headers['x-forwarded-for']}`);
  } else if (pathname === '/app/count' && request.method === 'POST') {
    request.on('data', (piece) => { posted += piece.length; });
    request.on('end', () => response.end(String(posted)));
  } else if (pathname === '/app/stream') {
    // Without a length: pieces as they are made.
    let left = 5;
    const timer = setInterval(() => {
      response.write(`piece ${left}\n`);
      left -= 1;
      if (left === 0) {
        clearInterval(timer);
        response.end();
      }
    }, 5);
  } else {
    response.statusCode = 404;
    response.end('no such thing');
  }
});

// RFC 6455: the handshake, and frames of up to 125 bytes, which is what the test sends.
server.on('upgrade', (request, socket, early) => {
  const key = request.headers['sec-websocket-key'];
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  let waiting = early;
  const read = (bytes) => {
    waiting = Buffer.concat([waiting, bytes]);
    while (waiting.length >= 6) {
      const length = waiting[1] & 0x7f;
      if (waiting.length < 6 + length) return;
      const mask = waiting.subarray(2, 6);
      const payload = Buffer.from(waiting.subarray(6, 6 + length)).map((byte, index) => byte ^ mask[index % 4]);
      socket.write(Buffer.concat([Buffer.from([waiting[0], length]), payload]));
      if ((waiting[0] & 0x0f) === 8) return socket.end();
      waiting = waiting.subarray(6 + length);
    }
  };
  socket.on('data', read);
  socket.on('error', () => socket.destroy());
});

server.listen(Number(process.env.PORT || 0), '127.0.0.1', () => {
  process.stdout.write(`${server.address().port}\n`);
});

'use strict';
// Signaling as tutorials have it: rooms of two, plain WebSocket, nginx in front for TLS. It forwards
// what it was sent and does not write it anew, which is kinder to it than most tutorials are.
const { WebSocketServer } = require('ws');

const seats = new Map(); // room -> [{ uid, socket }]
const tell = (socket, message) => {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message));
};

function vacate(socket) {
  const mates = seats.get(socket.room);
  if (!mates) return;
  const rest = mates.filter((mate) => mate.socket !== socket);
  if (rest.length === mates.length) return;
  if (rest.length === 0) seats.delete(socket.room);
  else seats.set(socket.room, rest);
  for (const mate of rest) tell(mate.socket, { cmd: 'peer-leave', remoteUid: socket.uid });
}

function join(socket, { roomId, uid }) {
  const mates = seats.get(roomId) ?? [];
  if (mates.length === 2) return tell(socket, { cmd: 'full', roomId });
  socket.room = roomId;
  socket.uid = uid;
  for (const mate of mates) {
    tell(mate.socket, { cmd: 'new-peer', remoteUid: uid });
    tell(socket, { cmd: 'resp-join', remoteUid: mate.uid });
  }
  seats.set(roomId, [...mates, { uid, socket }]);
}

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(process.env.PORT),
  backlog: 4096,
});
server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('close', () => vacate(socket));
  socket.on('message', (data) => {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message.cmd === 'join') return join(socket, message);
    if (message.cmd === 'leave') return vacate(socket);
    const mate = seats.get(message.roomId)?.find(({ uid }) => uid === message.remoteUid);
    if (mate) mate.socket.send(data, { binary: false });
  });
});

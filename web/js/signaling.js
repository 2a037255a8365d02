// Signaling: one WebSocket to `/ws`, watched and re-opened. Owns the wire (one JSON object a frame,
// `cmd` join / leave / offer / answer / candidate and the server's own) and membership; knows no WebRTC.

const BACKOFF_MS = [300, 1000, 2000, 4000, 8000];
const HEARTBEAT_MS = 15000;
const PATIENCE_MS = 6000;
const OPEN_MS = 10000;

/** An id nobody can guess: whoever knew it could claim to be us. */
function freshUid() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

/**
 * Handlers, all called with plain values:
 * `joined()` a join is on its way; `member(uid, role, others)` somebody is here, and our role is to
 * 'offer' (we were first) or 'answer', `others` counts everybody present; `left(uid)`; `full()`;
 * `frame(cmd, uid, message)` sent by that member; `down(attempt)` no connection, the attempt-th in a row.
 */
export class Signaling {
  /** Our id in the room; a new one for each join, so that a ghost of us is never in the way. */
  uid = freshUid();
  #room;
  #on;
  #socket = null;
  #attempt = 0;
  #timers = new Set();
  #closed = false;
  #answersHeartbeats = false;
  #heard = 0;
  #used = false;

  constructor(room, handlers) {
    this.#room = room;
    this.#on = handlers;
    this.#connect();
    addEventListener('online', this.#wake);
  }

  get connected() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Sends one frame to a member; without a connection it is dropped, since a re-join starts afresh. */
  send(cmd, remoteUid, message) {
    this.#write({ cmd, roomId: this.#room, uid: this.uid, remoteUid, msg: JSON.stringify(message) });
  }

  /** Joins again with a new id (the room was full). */
  rejoin() {
    this.#write({ cmd: 'leave', roomId: this.#room, uid: this.uid });
    if (this.connected) this.#join();
  }

  /** Asks whether the connection is alive, and gives it only a moment to answer. */
  probe() {
    if (this.connected) this.#heartbeat(3000);
    else this.#wake();
  }

  /** Leaves the room and ends for good. */
  close() {
    this.#write({ cmd: 'leave', roomId: this.#room, uid: this.uid });
    this.#closed = true;
    removeEventListener('online', this.#wake);
    this.#drop();
  }

  #wake = () => {
    if (this.connected) this.#heartbeat(3000);
    else if (!this.#closed) this.#connect();
  };

  #join() {
    if (this.#used) this.uid = freshUid();
    this.#used = true;
    this.#write({ cmd: 'join', roomId: this.#room, uid: this.uid });
    this.#on.joined();
  }

  #write(frame) {
    if (this.connected) this.#socket.send(JSON.stringify(frame));
  }

  #connect() {
    this.#drop();
    const address = new URL('/ws', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    const socket = new WebSocket(address);
    this.#socket = socket;
    this.#answersHeartbeats = false;
    // A silent firewall would otherwise hold us here for minutes.
    this.#after(OPEN_MS, () => socket.readyState === WebSocket.CONNECTING && this.#lost());
    socket.onopen = () => {
      this.#attempt = 0;
      this.#join();
      this.#heartbeat(PATIENCE_MS);
    };
    socket.onmessage = ({ data }) => this.#read(data);
    socket.onclose = () => this.#lost();
  }

  #lost() {
    this.#drop();
    if (this.#closed) return;
    const base = BACKOFF_MS[Math.min(this.#attempt, BACKOFF_MS.length - 1)];
    this.#attempt += 1;
    // Spread out: after a server's restart everybody comes back.
    this.#after(base * (0.75 + Math.random() / 2), () => this.#connect());
    this.#on.down(this.#attempt);
  }

  #drop() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #after(ms, run) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }

  #heartbeat(patience) {
    const asked = performance.now();
    this.#write({ type: 'heartbeat' });
    this.#after(patience, () => {
      // A server that never answered one is not judged by it.
      if (this.#answersHeartbeats && this.#heard < asked) this.#lost();
      else if (patience === PATIENCE_MS) this.#after(HEARTBEAT_MS - PATIENCE_MS, () => this.#heartbeat(PATIENCE_MS));
    });
  }

  #read(text) {
    this.#heard = performance.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame?.type === 'heartbeat reply') this.#answersHeartbeats = true;
    switch (frame?.cmd) {
      case 'resp-join':
        return this.#on.member(frame.remoteUid, 'answer', frame.remoteIds?.length ?? 1);
      case 'new-peer':
        return this.#on.member(frame.remoteUid, 'offer', 1);
      case 'peer-leave':
        return this.#on.left(frame.remoteUid);
      case 'full':
        return this.#on.full();
      default:
        if (frame?.cmd && frame.uid) this.#on.frame(frame.cmd, frame.uid, parse(frame.msg));
    }
  }
}

function parse(message) {
  try {
    return JSON.parse(message);
  } catch {
    return null;
  }
}

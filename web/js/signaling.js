// Signaling: one WebSocket to `/ws` in the dialect `callbox.v1`, watched, re-opened and resumed. Owns the
// wire and membership; knows no WebRTC. docs/signaling.md is the specification.

const BACKOFF_MS = [300, 1000, 2000, 4000, 8000];
const HEARTBEAT_MS = 15000;
const PATIENCE_MS = 6000;
const OPEN_MS = 10000;
/** Frames of ours that are kept until a resume tells which of them have arrived. */
const KEPT = 200;
/** Close codes after which coming back at once would only repeat what was wrong. */
const SLOWLY = new Map([[4429, 5000], [4400, 2000], [1002, 2000], [1003, 2000], [1007, 2000], [1009, 2000]]);
const SUPERSEDED = 4409;
const EVICTED = 4403;

/** An id nobody can guess: it is also the name under which a course client could come before us. */
function freshUid() {
  return [...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, '0')).join('');
}

/**
 * Handlers, all called with plain values:
 * `joined(members, returning)` a seat, and `[{uid, polite}]` of those before us; `resumed(members)` the same
 * seat again, with members only if something was lost; `member(uid, returning)` somebody came, and we make
 * the offer; `left(uid)`, `away(uid)`, `back(uid, lost)`; `refused(code)` no seat; `frame(cmd, uid, message)`
 * sent by that member; `chat(uid, text)`; `door(locked, mayLock)` how the room is now, and whether we may
 * change that; `ice(configuration)`; `down(attempt)` no connection, the attempt-th in a row.
 */
export class Signaling {
  /** Our id in the room; a new one for each join that is not a return. */
  uid = freshUid();
  /** Whether texts for people are carried. */
  chats = true;
  #room;
  #token;
  #on;
  #socket = null;
  #attempt = 0;
  #timers = new Set();
  #closed = false;
  #heard = 0;
  #ticket = null;
  #mayLock = false;
  /** Whether the seat is ours over this very connection. */
  #seated = false;
  /** Frames of the server in this seat. */
  #received = 0;
  /** Frames of ours in this seat: how many there were, and the last of them. */
  #sent = 0;
  #kept = [];

  constructor(room, token, handlers) {
    this.#room = room;
    this.#token = token;
    this.#on = handlers;
    this.#connect();
    addEventListener('online', this.#wake);
  }

  get connected() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Sends one frame to a member; without a connection it waits for the next one. */
  send(cmd, remoteUid, message) {
    this.#say({ cmd, roomId: this.#room, uid: this.uid, remoteUid, msg: JSON.stringify(message) });
  }

  /** Sends a text to everybody else in the room. */
  chat(text) {
    this.#say({ cmd: 'chat', roomId: this.#room, uid: this.uid, msg: text });
  }

  /** Closes the room to newcomers, or opens it. */
  lock(wanted) {
    if (this.#mayLock) this.#say({ cmd: wanted ? 'lock' : 'unlock' });
  }

  /** Tells the server's statistics how a call was connected: kinds only, no address. */
  report(outcome) {
    this.#say({ cmd: 'report', ...outcome });
  }

  /** Asks for a seat again: there was none. */
  rejoin() {
    if (this.connected && !this.#seated) this.#join();
  }

  /** Asks whether the connection is alive, and gives it only a moment to answer. */
  probe() {
    if (this.connected) this.#heartbeat(3000);
    else this.#wake();
  }

  /** Leaves the room and ends for good. */
  close() {
    if (this.#seated) this.#say({ cmd: 'leave' });
    this.#closed = true;
    removeEventListener('online', this.#wake);
    this.#drop(1000);
  }

  #wake = () => {
    if (this.connected) this.#heartbeat(3000);
    else if (!this.#closed) this.#connect();
  };

  #join() {
    const token = this.#token ? { token: this.#token } : {};
    this.#socket.send(JSON.stringify({ cmd: 'join', roomId: this.#room, uid: this.uid, ...token }));
  }

  /** A frame that counts: the server has the same number for it. */
  #say(frame) {
    if (!this.#ticket) return;
    const text = JSON.stringify(frame);
    this.#sent += 1;
    this.#kept.push(text);
    if (this.#kept.length > KEPT) this.#kept.shift();
    if (this.#seated && this.connected) this.#socket.send(text);
  }

  #connect() {
    this.#drop();
    const address = new URL('/ws', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    const socket = new WebSocket(address, 'callbox.v1');
    this.#socket = socket;
    // A silent firewall would otherwise hold us here for minutes.
    this.#after(OPEN_MS, () => socket.readyState === WebSocket.CONNECTING && this.#lost());
    socket.onopen = () => {
      if (this.#ticket) socket.send(JSON.stringify({ cmd: 'resume', ticket: this.#ticket, received: this.#received }));
      else this.#join();
      // An answer is due in any case.
      const asked = performance.now();
      this.#after(PATIENCE_MS, () => this.#heard < asked && this.#lost());
    };
    socket.onmessage = ({ data }) => this.#read(data);
    socket.onclose = ({ code }) => this.#lost(code);
  }

  #lost(code = 0) {
    this.#drop();
    if (this.#closed) return;
    // The operator has ended it: to come back would be to begin anew.
    if (code === EVICTED) {
      this.close();
      this.#on.refused('ended');
      return;
    }
    this.#attempt += 1;
    this.#on.down(this.#attempt);
    // The seat is served elsewhere: a page that was put to sleep and copied, perhaps.
    if (code === SUPERSEDED) return;
    const base = SLOWLY.get(code) ?? BACKOFF_MS[Math.min(this.#attempt, BACKOFF_MS.length) - 1];
    // Spread out: after a server's restart everybody comes back.
    this.#after(base * (0.75 + Math.random() / 2), () => this.#connect());
  }

  #drop(code) {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#seated = false;
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  #after(ms, run) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }

  #heartbeat(patience) {
    if (!this.#seated) return;
    const asked = performance.now();
    this.#say({ cmd: 'ping' });
    this.#after(patience, () => {
      if (this.#heard < asked) this.#lost();
      else if (patience === PATIENCE_MS) this.#after(HEARTBEAT_MS - PATIENCE_MS, () => this.#heartbeat(PATIENCE_MS));
    });
  }

  #read(text) {
    this.#heard = performance.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      frame = null;
    }
    if (frame?.cmd === 'joined') return this.#joined(frame);
    if (frame?.cmd === 'resumed') return this.#resumed(frame);
    if (this.#seated) this.#received += 1;
    switch (frame?.cmd) {
      case 'new-peer':
        return this.#on.member(frame.uid, frame.returning);
      case 'peer-leave':
        return this.#on.left(frame.uid);
      case 'peer-away':
        return this.#on.away(frame.uid);
      case 'peer-back':
        return this.#on.back(frame.uid, frame.lost);
      case 'locked':
      case 'unlocked':
        return this.#on.door(frame.cmd === 'locked', this.#mayLock);
      case 'chat':
        return typeof frame.msg === 'string' ? this.#on.chat(frame.uid, frame.msg) : undefined;
      case 'ice-servers':
        this.#ticket = frame.ticket;
        return this.#on.ice(frame.ice);
      case 'full':
      case 'err-msg':
        // What concerns single frames is no news to us: their receiver has left.
        return this.#seated ? undefined : this.#refused(frame.code);
      default:
        if (frame?.cmd && frame.uid) this.#on.frame(frame.cmd, frame.uid, parse(frame.msg));
    }
  }

  #joined(frame) {
    this.#seat(frame);
    this.uid = frame.uid;
    this.#received = 0;
    this.#sent = 0;
    this.#kept = [];
    this.#on.ice(frame.ice);
    this.#on.door(frame.locked, this.#mayLock);
    this.#on.joined(frame.members, frame.returning);
    this.#heartbeat(PATIENCE_MS);
  }

  #resumed(frame) {
    this.#seat(frame);
    this.#on.ice(frame.ice);
    if (frame.lost) this.#received = frame.sent;
    const missing = this.#sent - frame.received;
    // Of what the server has not got, what is still here: the rest was too much to be kept.
    const again = this.#kept.slice(-missing || this.#kept.length);
    for (const text of again) this.#socket.send(text);
    this.#sent = frame.received + again.length;
    this.#kept = again;
    if (frame.lost) this.#on.door(frame.locked, this.#mayLock);
    this.#on.resumed(frame.lost ? frame.members : null);
    this.#heartbeat(PATIENCE_MS);
  }

  #seat(frame) {
    this.#attempt = 0;
    this.#ticket = frame.ticket;
    this.#mayLock = frame.mayLock;
    this.#seated = true;
  }

  #refused(code) {
    const returning = Boolean(this.#ticket);
    this.#ticket = null;
    // The ticket is worth nothing any more: as somebody new, then, and past our own ghost.
    if (returning || code === 'uid-taken') this.uid = freshUid();
    if (code === 'bad-ticket' || code === 'uid-taken') this.#join();
    else this.#on.refused(code);
  }
}

function parse(message) {
  try {
    return JSON.parse(message);
  } catch {
    return null;
  }
}

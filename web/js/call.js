// A call in a room: membership from signaling on one side, a session with each other member on the other,
// and one `state` that the page shows. Touches no DOM and no devices.

import { AppRtc } from './apprtc.js';
import { IceSource } from './ice.js';
import { outcomeOf } from './path.js';
import { Session } from './session.js';
import { Signaling } from './signaling.js';

// A seat that we had may still be kept for a ghost of ours: worth asking again for a while.
const GHOST_MS = 75000;
const GHOST_RETRY_MS = 3000;

/** Why there is no seat, in the page's words. */
const REASONS = {
  locked: 'locked',
  'no-such-room': 'absent',
  'token-required': 'token',
  'token-invalid': 'token',
  'token-mismatch': 'token',
  ended: 'removed',
};

/**
 * `state.phase`: 'connecting' to the server, 'waiting' for somebody, 'calling' (negotiating with them),
 * 'connected', 'reconnecting', 'failed'. `state.reason` of 'failed': 'server', 'full', 'locked', 'absent',
 * 'token', 'path'. `state.peerLeft`: somebody was here. `state.peerOffline`: somebody lost the server, media goes on.
 * `door`: whether the room is locked, and whether we may change that.
 */
export class Call {
  state = { phase: 'connecting', reason: null, peerLeft: false, peerOffline: false };
  door = { locked: false, mayLock: false };
  #on;
  #chat;
  #media;
  #ice;
  #signaling;
  /** By the uid of the other member, in the order in which we met. */
  #sessions = new Map();
  #joinedOnce = false;
  #seated = false;
  #hadPeer = false;
  #attempt = 0;
  #fullSince = 0;
  #fullTimer = 0;
  #moved = false;
  #ended = false;

  /**
   * `media`: `{tracks: {audio, video}, status: {audio, video}}` as it is now; `changed()` after any change;
   * `chat(uid, text)` for what somebody else writes.
   */
  constructor({ room, token, query, media, changed, chat }) {
    this.#chat = chat;
    this.#media = media;
    this.#on = changed;
    this.#ice = new IceSource(query);
    // A room of AppRTC's clients, who have words of their own.
    const Wire = query.get('dialect') === 'apprtc' ? AppRtc : Signaling;
    this.#signaling = new Wire(room, token, {
      joined: (members, returning) => this.#joined(members, returning),
      resumed: (members) => this.#resumed(members),
      member: (uid, returning, early) => this.#meet(uid, 'offer', returning, early),
      left: (uid) => this.#left(uid),
      away: (uid) => this.#away(uid),
      back: (uid, lost) => this.#back(uid, lost),
      refused: (code) => this.#refused(code),
      frame: (cmd, uid, message) => this.#frame(cmd, uid, message),
      chat: (uid, text) => this.#chat(uid, text),
      door: (locked, mayLock) => this.#door(locked, mayLock),
      ice: (configuration) => this.#ice.take(configuration),
      down: (attempt) => this.#down(attempt),
    });
    addEventListener('online', this.#online);
  }

  get uid() {
    return this.#signaling.uid;
  }

  /** The peer connection of the member that is shown first, for statistics. */
  get pc() {
    return this.#main?.pc ?? null;
  }

  /** What that member sends, and what it says about it (`{audio, video}` or null). */
  get stream() {
    return this.#main?.stream ?? null;
  }

  get remote() {
    return this.#main?.remote ?? null;
  }

  /** The other members, if there are more: `{uid, stream, remote, away}` each. */
  get others() {
    const main = this.#main;
    return [...this.#sessions.values()]
      .filter((session) => session !== main && session.condition === 'connected')
      .map(({ uid, stream, remote, away, present }) => ({ uid, stream, remote, away: away || !present }));
  }

  /** How many others are in the room, as far as we know. */
  get company() {
    return this.#sessions.size;
  }

  /** How each relay was tried, and whether the other side kept silent. */
  get evidence() {
    const session = this.#main;
    return {
      relays: session?.report?.list() ?? [],
      // Silence of the other side explains a failure only where our own side had something to offer.
      silent: Boolean(session?.reachable && !session.pc.remoteDescription),
    };
  }

  setTrack(kind, track) {
    for (const session of this.#sessions.values()) session.setTrack(kind, track);
  }

  /** Tells the others whether microphone and camera are on. */
  tell() {
    for (const uid of this.#sessions.keys()) this.#signaling.send('media-state', uid, this.#media().status);
  }

  /** Whether people can write to each other. */
  get chats() {
    return this.#signaling.chats;
  }

  /** Writes to everybody else. */
  write(text) {
    this.#signaling.chat(text);
  }

  /** Closes the room to newcomers, or opens it; what becomes of it comes back as `door`. */
  lock(wanted) {
    this.#signaling.lock(wanted);
  }

  /** Looks at the connections now: the machine woke up or changed its network. */
  check() {
    this.#signaling.probe();
  }

  /** Leaves for good. */
  leave() {
    this.#ended = true;
    clearTimeout(this.#fullTimer);
    removeEventListener('online', this.#online);
    for (const session of this.#sessions.values()) {
      this.#signaling.send('hangup', session.uid, {});
      session.close();
    }
    this.#signaling.close();
  }

  #online = () => {
    this.#moved = true;
  };

  /** The one that is shown first: whoever is connected, and of these the first. */
  get #main() {
    const all = [...this.#sessions.values()];
    return all.find((session) => session.condition === 'connected') ?? all[0] ?? null;
  }

  #joined(members, returning) {
    this.#joinedOnce = true;
    this.#seated = true;
    this.#attempt = 0;
    this.#fullSince = 0;
    const present = new Set(members.map(({ uid }) => uid));
    for (const session of [...this.#sessions.values()]) {
      // Under a new name we are a stranger to everybody. Under the old one, whoever is not here (yet) is
      // kept as long as media flows: the server may have been restarted, and they are on their way.
      if (!returning || (!present.has(session.uid) && session.condition !== 'connected')) this.#drop(session);
      else if (!present.has(session.uid)) session.present = false;
    }
    for (const { uid, polite } of members) this.#meet(uid, polite ? 'answer' : 'offer', returning);
    this.#show();
  }

  /** The same seat over a new connection. */
  #resumed(members) {
    this.#seated = true;
    this.#attempt = 0;
    if (members) {
      const present = new Set(members.map(({ uid }) => uid));
      for (const session of [...this.#sessions.values()]) {
        if (!present.has(session.uid)) this.#left(session.uid);
      }
      for (const { uid, polite } of members) this.#meet(uid, polite ? 'answer' : 'offer', true);
    }
    for (const session of this.#sessions.values()) {
      // What took our connection to the server may have taken the paths to the others as well.
      if (members || this.#moved || !session.settled) session.renegotiate();
    }
    this.#moved = false;
    this.#show();
  }

  #meet(uid, role, returning, early = false) {
    if (!uid || uid === this.uid) return;
    const known = this.#sessions.get(uid);
    if (known && returning) {
      known.role = role;
      known.present = true;
      known.away = false;
      if (!known.settled) known.renegotiate();
      this.#signaling.send('media-state', uid, this.#media().status);
    } else {
      known?.close();
      this.#open(uid, role, early);
    }
    this.#show();
  }

  #open(uid, role, early = false) {
    const session = new Session({
      uid,
      role,
      early,
      tracks: this.#media().tracks,
      ice: () => this.#ice.get(),
      send: (cmd, message) => this.#signaling.send(cmd, uid, message),
      change: () => this.#changed(session),
    });
    this.#sessions.set(uid, session);
    this.#signaling.send('media-state', uid, this.#media().status);
    return session;
  }

  #left(uid) {
    const session = this.#sessions.get(uid);
    if (!session) return;
    session.present = false;
    // Without a goodbye it may only have lost the server: media that still flows is kept.
    if (session.condition !== 'connected' || session.saidGoodbye) this.#drop(session);
    this.#show();
  }

  #away(uid) {
    const session = this.#sessions.get(uid);
    if (!session) return;
    session.away = true;
    this.#show();
  }

  #back(uid, lost) {
    const session = this.#sessions.get(uid);
    if (!session) return;
    session.away = false;
    session.present = true;
    if (lost || !session.settled) session.renegotiate();
    this.#show();
  }

  #frame(cmd, uid, message) {
    let session = this.#sessions.get(uid);
    if (!session) return;
    if (cmd === 'media-state') {
      session.remote = { audio: Boolean(message?.audio), video: Boolean(message?.video) };
      this.#show();
    } else if (cmd === 'hangup') {
      session.saidGoodbye = true;
      this.#drop(session);
      this.#show();
    } else {
      if (cmd === 'offer' && session.isOther(message)) {
        // The other side has begun anew; its offer does not fit what we had.
        const { remote } = session;
        session.close();
        session = this.#open(uid, 'answer');
        session.remote = remote;
      }
      session.receive(cmd, message);
    }
  }

  #door(locked, mayLock) {
    this.door = { locked, mayLock };
    this.#show();
  }

  /** How the way to a member was found, or that there was none, goes into the operator's statistics. */
  async #report(session) {
    const { condition, told } = session;
    if (told.has(condition) || (condition === 'failed' && told.size)) return;
    told.add(condition);
    const outcome = condition === 'failed' ? { path: 'failed' } : outcomeOf(await session.pc.getStats());
    if (outcome && !this.#ended) this.#signaling.report(outcome);
  }

  #changed(session) {
    if (this.#sessions.get(session.uid) !== session) return;
    if (session.condition === 'connected' || session.condition === 'failed') this.#report(session);
    if (session.condition !== 'connected' && !session.present) this.#drop(session);
    // The same cut may have taken the server's connection too; find out before a minute passes.
    else if (session.condition === 'interrupted') this.#signaling.probe();
    this.#show();
  }

  #drop(session) {
    session.close();
    this.#hadPeer = true;
    if (this.#sessions.get(session.uid) === session) this.#sessions.delete(session.uid);
  }

  #refused(code) {
    this.#seated = false;
    if (code in REASONS) {
      this.#fail(REASONS[code]);
      return;
    }
    this.#fullSince ||= performance.now();
    if (this.#joinedOnce && performance.now() - this.#fullSince < GHOST_MS) {
      clearTimeout(this.#fullTimer);
      this.#fullTimer = setTimeout(() => this.#signaling.rejoin(), GHOST_RETRY_MS);
      this.#show();
    } else if (!this.#main) {
      this.#fail('full');
    }
  }

  #down(attempt) {
    this.#seated = false;
    this.#attempt = attempt;
    this.#show();
  }

  #fail(reason) {
    this.#set({ phase: 'failed', reason, peerLeft: false, peerOffline: false });
    this.#ended = true;
    for (const session of this.#sessions.values()) session.close();
    this.#signaling.close();
  }

  /** Derives the one state from everything there is. */
  #show() {
    if (this.#ended) return;
    const sessions = [...this.#sessions.values()];
    const any = (condition) => sessions.some((session) => session.condition === condition);
    const peerOffline = sessions.some((session) => session.away || !session.present);
    const set = (phase, reason = null) => this.#set({ phase, reason, peerLeft: this.#hadPeer, peerOffline });
    if (any('connected')) return set('connected');
    if (!this.#signaling?.connected && this.#attempt >= 3) return set('failed', 'server');
    if (any('interrupted')) return set('reconnecting');
    if (any('failed')) return set('failed', 'path');
    if (!this.#seated) return set(this.#joinedOnce ? 'reconnecting' : 'connecting');
    return set(sessions.some((session) => session.expected) ? 'calling' : 'waiting');
  }

  #set(state) {
    this.state = state;
    this.#on();
  }
}

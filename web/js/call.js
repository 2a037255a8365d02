// A call in a room: membership from signaling on one side, sessions with the other member on the other,
// and one `state` that the page shows. Touches no DOM and no devices.

import { IceSource } from './ice.js';
import { Session } from './session.js';
import { Signaling } from './signaling.js';

// The server frees the seat of a client that vanished after 60 s; until then our own ghost may hold it.
const GHOST_MS = 75000;
const GHOST_RETRY_MS = 3000;

/**
 * `state.phase`: 'connecting' to the server, 'waiting' for somebody, 'calling' (negotiating with them),
 * 'connected', 'reconnecting', 'failed'. `state.reason` of 'failed': 'server', 'full', 'path'.
 * `state.peerLeft`: somebody was here. `state.peerOffline`: they lost the server, media goes on.
 */
export class Call {
  state = { phase: 'connecting', reason: null, peerLeft: false, peerOffline: false };
  #on;
  #media;
  #ice;
  #signaling;
  /** The session that is shown, and one that will take its place once it works. */
  #active = null;
  #next = null;
  #joinedOnce = false;
  #seated = false;
  #hadPeer = false;
  #attempt = 0;
  #fullSince = 0;
  #fullTimer = 0;
  #ended = false;

  /** `media`: `{tracks: {audio, video}, status: {audio, video}}` as it is now; `changed()` after any change. */
  constructor({ room, query, media, changed }) {
    this.#media = media;
    this.#on = changed;
    this.#ice = new IceSource(room, query);
    this.#signaling = new Signaling(room, {
      joined: () => this.#joined(),
      member: (uid, role, others) => this.#member(uid, role, others),
      left: (uid) => this.#left(uid),
      full: () => this.#full(),
      frame: (cmd, uid, message) => this.#frame(cmd, uid, message),
      down: (attempt) => this.#down(attempt),
    });
    // The credentials are wanted soon, and the server may be asked while the socket opens.
    this.#ice.get(this.#signaling.uid);
  }

  get uid() {
    return this.#signaling.uid;
  }

  /** The peer connection in use, for statistics. */
  get pc() {
    return this.#active?.pc ?? null;
  }

  /** What the other side sends, and what it says about it (`{audio, video}` or null). */
  get stream() {
    return this.#active?.stream ?? null;
  }

  get remote() {
    return this.#active?.remote ?? null;
  }

  /** How each relay was tried, whether the other side kept silent, and whether the server gave us relays. */
  get evidence() {
    const session = this.#next ?? this.#active;
    return {
      relays: session?.report?.list() ?? [],
      // Silence of the other side explains a failure only where our own side had something to offer.
      silent: Boolean(session?.reachable && !session.pc.remoteDescription),
      config: this.#ice.problem,
    };
  }

  setTrack(kind, track) {
    for (const session of this.#sessions()) session.setTrack(kind, track);
  }

  /** Tells the other side whether microphone and camera are on. */
  tell() {
    const uids = new Set(this.#sessions().map((session) => session.uid));
    for (const uid of uids) this.#signaling.send('media-state', uid, this.#media().status);
  }

  /** Looks at the connections now: the machine woke up or changed its network. */
  check() {
    this.#signaling.probe();
  }

  /** Leaves for good. */
  leave() {
    this.#ended = true;
    clearTimeout(this.#fullTimer);
    for (const session of this.#sessions()) {
      this.#signaling.send('hangup', session.uid, {});
      session.close();
    }
    this.#signaling.close();
  }

  /** The newest first: after a re-join of ours both are with the same member, and frames are for the new one. */
  #sessions() {
    return [this.#next, this.#active].filter(Boolean);
  }

  #joined() {
    this.#joinedOnce = true;
    this.#seated = true;
    this.#attempt = 0;
    this.#next?.close();
    this.#next = null;
    this.#show();
  }

  #member(uid, role, others) {
    if (!uid || uid === this.uid) return;
    this.#fullSince = 0;
    if (others > 1) {
      // A larger room of some other client: this page is for two.
      this.#full();
      return;
    }
    const current = this.#next ?? this.#active;
    if (current?.uid === uid && current.metAs === this.uid && current.condition !== 'closed') return;
    // Occupied by somebody who is still here. Whom we met before a re-join of ours we may be meeting again.
    if (role === 'offer' && this.#active?.present && this.#active.uid !== uid && this.#active.metAs === this.uid) return;
    const session = new Session({
      uid,
      role,
      tracks: this.#media().tracks,
      ice: () => this.#ice.get(this.uid),
      send: (cmd, message) => this.#signaling.send(cmd, uid, message),
      change: () => this.#changed(session),
    });
    session.metAs = this.uid;
    this.#next?.close();
    this.#next = null;
    if (this.#active?.condition === 'connected' || this.#active?.condition === 'interrupted') {
      this.#next = session;
    } else {
      this.#active?.close();
      this.#active = session;
    }
    this.#signaling.send('media-state', uid, this.#media().status);
    this.#show();
  }

  #left(uid) {
    if (this.#next?.uid === uid) {
      this.#next.close();
      this.#next = null;
    }
    const session = this.#active;
    if (session?.uid === uid) {
      session.present = false;
      // Without a goodbye it may only have lost the server: media that still flows is kept.
      if (session.condition !== 'connected' || session.saidGoodbye) this.#drop(session);
    }
    this.#show();
  }

  #frame(cmd, uid, message) {
    const session = this.#sessions().find((one) => one.uid === uid);
    if (!session) return;
    if (cmd === 'media-state') {
      session.remote = { audio: Boolean(message?.audio), video: Boolean(message?.video) };
      this.#show();
    } else if (cmd === 'hangup') {
      session.saidGoodbye = true;
      this.#drop(session);
      this.#show();
    } else {
      session.receive(cmd, message);
    }
  }

  #changed(session) {
    if (session === this.#next && session.condition === 'connected') {
      this.#active.close();
      this.#active = session;
      this.#next = null;
    } else if (session === this.#active && session.condition !== 'connected' && !session.present) {
      this.#drop(session);
    } else if (session === this.#active && session.condition === 'interrupted') {
      // The same cut may have taken the server's connection too; find out before a minute passes.
      this.#signaling.probe();
    } else if (session === this.#active && session.condition === 'failed' && this.#next) {
      session.close();
      this.#active = this.#next;
      this.#next = null;
    }
    this.#show();
  }

  #drop(session) {
    session.close();
    if (session === this.#next) this.#next = null;
    if (session !== this.#active) return;
    this.#active = this.#next;
    this.#next = null;
    this.#hadPeer = true;
  }

  #full() {
    const mayBeGhost = this.#hadPeer || this.#active;
    this.#fullSince ||= performance.now();
    this.#seated = false;
    if (mayBeGhost && performance.now() - this.#fullSince < GHOST_MS) {
      clearTimeout(this.#fullTimer);
      this.#fullTimer = setTimeout(() => this.#signaling.rejoin(), GHOST_RETRY_MS);
    } else if (!this.#active) {
      this.#fail('full');
      this.#signaling.close();
      return;
    }
    this.#show();
  }

  #down(attempt) {
    this.#seated = false;
    this.#attempt = attempt;
    this.#show();
  }

  #fail(reason) {
    this.#set({ phase: 'failed', reason, peerLeft: false, peerOffline: false });
    if (reason === 'full') this.#ended = true;
  }

  /** Derives the one state from everything there is. */
  #show() {
    if (this.#ended) return;
    const peerLeft = this.#hadPeer;
    const session = this.#active;
    const set = (phase, reason = null) => this.#set({ phase, reason, peerLeft, peerOffline: Boolean(session && !session.present) });
    if (session?.condition === 'connected') return set('connected');
    if (!this.#signaling?.connected && this.#attempt >= 3) return set('failed', 'server');
    if (session?.condition === 'interrupted') return set('reconnecting');
    if (session?.condition === 'failed') return set('failed', 'path');
    if (!this.#seated) return set(this.#joinedOnce ? 'reconnecting' : 'connecting');
    return set(session ? 'calling' : 'waiting');
  }

  #set(state) {
    this.state = state;
    this.#on();
  }
}

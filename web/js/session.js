// One RTCPeerConnection with one member of the room: negotiation, candidates, recovery.
// Perfect negotiation: `role` is the server's word. Who offers first is impolite, who answers yields.

import { RelayReport } from './ice.js';

const RESTART_AFTER_MS = { offer: 2500, answer: 7000 };
const GIVE_UP_MS = 30000;
const MAX_RESTARTS = 6;

/**
 * `send(cmd, message)` reaches the other member; `media.tracks` is `{audio, video}` (or null each).
 * Handlers: `change()` after any change of `condition`, `stream` or `remote`. `early`: our offer waits for
 * somebody to come, however long that takes.
 */
export class Session {
  /** 'new' | 'connected' | 'interrupted' | 'failed' (still trying) | 'closed' */
  condition = 'new';
  /** True until the server says that this member left the room. */
  present = true;
  /** What of this session has been reported to the operator: 'connected' or 'failed', each once. */
  told = new Set();
  /** It has lost the server for the moment. */
  away = false;
  /** What the other side told about itself: `{audio, video}`; null from a foreign client. */
  remote = null;
  /** Whether anybody is there to answer. */
  expected = true;
  /** Whether we have found any address to be reached at. */
  reachable = false;
  stream = new MediaStream();
  pc = null;
  report = null;
  #send;
  #ice;
  #tracks;
  #change;
  #restartTimer = 0;
  #restarts = 0;
  #giveUpTimer = 0;
  #makingOffer = false;
  #ignoringOffer = false;
  #candidates = [];
  #work;
  /** Which of our attempts this is, and which of theirs it is with: an offer of another one begins anew. */
  #own = Math.random().toString(36).slice(2);
  #theirs = null;
  /** Names our tracks as belonging together; foreign clients show the stream, not the tracks. */
  #outgoing = new MediaStream();

  constructor({ uid, role, early = false, tracks, ice, send, change }) {
    this.uid = uid;
    this.role = role;
    this.#tracks = { ...tracks };
    this.#ice = ice;
    this.#send = send;
    this.#change = change;
    this.expected = !early;
    if (this.expected) this.#giveUp();
    // Frames wait in line behind the fetch of the ICE configuration, and behind each other.
    this.#work = this.#open();
  }

  /** A frame of the other member. */
  receive(cmd, message) {
    if (!this.expected) {
      this.expected = true;
      this.#giveUp();
      this.#change();
    }
    this.#work = this.#work.then(() => this.#handle(cmd, message)).catch((error) => {
      if (this.condition !== 'closed') console.warn(`${cmd} not applied:`, error);
    });
  }

  /** Sends another track from now on (or none), without negotiating again. */
  setTrack(kind, track) {
    this.#tracks[kind] = track;
    const sender = this.pc?.getTransceivers().find((one) => one.receiver.track.kind === kind)?.sender;
    sender?.replaceTrack(track).catch(() => {});
  }

  /** Looks for a new path now, for instance after a change of network. */
  async restart() {
    if (!this.pc || this.condition === 'closed') return;
    const config = await this.#ice();
    if (this.condition === 'closed') return;
    // Older Firefox cannot take new credentials; the old ones are good for hours.
    this.pc.setConfiguration?.(config);
    this.report = new RelayReport(config);
    this.pc.restartIce();
  }

  /** Whether an offer belongs to another attempt of the other side. Foreign clients do not tell. */
  isOther(offer) {
    return Boolean(offer?.session && this.#theirs && offer.session !== this.#theirs);
  }

  /** Connected, and nothing under negotiation. */
  get settled() {
    return this.condition === 'connected' && this.pc.signalingState === 'stable';
  }

  /** What was said may not have arrived: says it again, or looks for a new path. */
  renegotiate() {
    if (this.pc?.signalingState === 'have-local-offer') this.#tell('offer');
    else this.restart();
  }

  close() {
    clearTimeout(this.#restartTimer);
    clearTimeout(this.#giveUpTimer);
    this.condition = 'closed';
    if (this.pc) {
      for (const name of ['icecandidate', 'icecandidateerror', 'icegatheringstatechange', 'negotiationneeded', 'track', 'connectionstatechange']) this.pc[`on${name}`] = null;
      this.pc.close();
    }
  }

  async #open() {
    const config = await this.#ice();
    if (this.condition === 'closed') return;
    const pc = new RTCPeerConnection(config);
    this.pc = pc;
    this.report = new RelayReport(config);
    pc.onicecandidate = ({ candidate }) => {
      this.report.candidate(candidate);
      if (!candidate?.candidate) return;
      this.reachable = true;
      // Both spellings in use: the course's label/id and the browser's own.
      this.#send('candidate', { label: candidate.sdpMLineIndex, id: candidate.sdpMid, ...candidate.toJSON() });
    };
    pc.onicecandidateerror = (event) => this.report.error(event);
    pc.onnegotiationneeded = () => this.#offer();
    pc.ontrack = ({ track }) => {
      this.stream.addTrack(track);
      this.#change();
    };
    pc.onicegatheringstatechange = () => {
      // Nothing to be reached at, as when only relays are allowed and none lets us in: no need to wait for the rest.
      if (pc.iceGatheringState === 'complete' && !this.reachable && this.condition === 'new') this.#set('failed');
    };
    pc.onconnectionstatechange = () => this.#follow(pc.connectionState);
    if (this.role !== 'offer') return;
    // Both kinds are always offered: a camera switched on later needs no new negotiation.
    // Without a pause in between, or the first offer would have one of them only.
    for (const kind of ['audio', 'video']) {
      pc.addTransceiver(this.#tracks[kind] ?? kind, { direction: 'sendrecv', streams: [this.#outgoing] });
    }
  }

  async #offer() {
    const { pc } = this;
    // The newcomer speaks second; its first description is an answer.
    if (this.role === 'answer' && !pc.remoteDescription) return;
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      this.#tell('offer');
    } catch (error) {
      if (this.condition !== 'closed') console.warn('no offer:', error);
    } finally {
      this.#makingOffer = false;
    }
  }

  #tell(cmd) {
    const { type, sdp } = this.pc.localDescription;
    this.#send(cmd, { type, sdp, session: this.#own });
  }

  async #handle(cmd, message) {
    const { pc } = this;
    if (!pc || !message || this.condition === 'closed') return;
    if (cmd === 'candidate') return this.#candidate(message);
    if (cmd !== 'offer' && cmd !== 'answer') return;
    if (cmd === 'offer') {
      const collision = this.#makingOffer || pc.signalingState !== 'stable';
      this.#ignoringOffer = collision && this.role === 'offer';
      if (this.#ignoringOffer) return;
    } else if (pc.signalingState !== 'have-local-offer') {
      return;
    }
    this.#theirs = message.session ?? null;
    await pc.setRemoteDescription({ type: cmd, sdp: message.sdp });
    for (const waiting of this.#candidates.splice(0)) await this.#candidate(waiting);
    if (cmd === 'offer') {
      await this.#attach();
      await pc.setLocalDescription();
      this.#tell('answer');
    }
  }

  async #candidate(message) {
    if (!this.pc.remoteDescription) {
      // Bounded: nobody has this many paths.
      if (this.#candidates.length < 200) this.#candidates.push(message);
      return;
    }
    const { candidate, sdpMid = message.id, sdpMLineIndex = message.label, usernameFragment } = message;
    if (!candidate) return;
    try {
      await this.pc.addIceCandidate({ candidate, sdpMid, sdpMLineIndex, usernameFragment });
    } catch (error) {
      if (!this.#ignoringOffer) throw error;
    }
  }

  /** Answers an offer with our own tracks on the lines it brought. */
  async #attach() {
    const taken = new Set();
    for (const transceiver of this.pc.getTransceivers()) {
      const { kind } = transceiver.receiver.track;
      if (taken.has(kind) || transceiver.stopped) continue;
      taken.add(kind);
      if (transceiver.direction === 'recvonly') transceiver.direction = 'sendrecv';
      transceiver.sender.setStreams?.(this.#outgoing);
      if (transceiver.sender.track !== this.#tracks[kind]) await transceiver.sender.replaceTrack(this.#tracks[kind]);
    }
  }

  #follow(state) {
    clearTimeout(this.#restartTimer);
    if (state === 'connected') {
      clearTimeout(this.#giveUpTimer);
      this.#giveUpTimer = 0;
      this.#restarts = 0;
      this.#set('connected');
    } else if (state === 'disconnected') {
      this.#trouble(RESTART_AFTER_MS[this.role]);
    } else if (state === 'failed') {
      // A first attempt that failed is told at once; one that worked before gets its time.
      if (this.condition === 'new') this.#set('failed');
      this.#trouble(this.role === 'offer' ? 0 : 4000);
    }
  }

  #trouble(restartAfter) {
    if (this.condition === 'connected') this.#set('interrupted');
    if (!this.#giveUpTimer) this.#giveUp();
    if (this.#restarts >= MAX_RESTARTS) return;
    this.#restarts += 1;
    this.#restartTimer = setTimeout(() => this.restart(), restartAfter);
  }

  #giveUp() {
    this.#giveUpTimer = setTimeout(() => this.#set('failed'), GIVE_UP_MS);
  }

  #set(condition) {
    if (this.condition === condition || this.condition === 'closed') return;
    this.condition = condition;
    this.#change();
  }
}

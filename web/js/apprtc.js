// Signaling in AppRTC's words, to call its clients: the room server over HTTP, Collider over a WebSocket. Has
// the methods and handlers of js/signaling.js; docs/signaling.md tells what goes over the wire.

const BACKOFF_MS = [300, 1000, 2000, 4000, 8000];
const PATIENCE_MS = 10000;
const POLICY = 1008;
const EVICTED = 'ended by the operator';
/** There is one other at most, and nobody tells its name. */
const PEER = 'peer';
const BYE = { type: 'bye' };

/**
 * Who is first makes the offer before anybody is there to hear it: the room keeps it. So `member` comes with
 * `early`, which means that the answer may take as long as it likes.
 */
export class AppRtc {
  uid = 'self';
  /** Its clients know no chat. */
  chats = false;
  #room;
  #on;
  #params = null;
  #initiator = false;
  #socket = null;
  #attempt = 0;
  #timer = 0;
  #closed = false;
  /** Posts follow each other: an offer that is overtaken by its candidates is a riddle to some clients. */
  #posts = Promise.resolve();

  constructor(room, token, handlers) {
    this.#room = room;
    this.#on = handlers;
    this.#join();
    addEventListener('online', this.#wake);
  }

  get connected() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Sends one message to the other; what its clients do not know is kept back. */
  send(cmd, _, message) {
    if (cmd === 'offer' || cmd === 'answer') {
      // Whoever made the first offer takes a later one from the other side for a broken client.
      if (cmd === 'answer' || this.#initiator) this.#say({ type: cmd, sdp: message.sdp });
    } else if (cmd === 'candidate') {
      const { label, id, candidate } = message;
      this.#say({ type: 'candidate', label, id, candidate });
    }
  }

  /** Neither a chat, nor a lock, nor a report has words in this dialect. */
  chat() {}

  lock() {}

  report() {}

  /** Asks for a seat again: there was none. */
  rejoin() {
    if (!this.#params) this.#join();
  }

  /** The socket tells by itself when it ends; the server's pings see to that. */
  probe() {
    this.#wake();
  }

  /** Leaves the room and ends for good. All at once: the page may be gone in a moment. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    removeEventListener('online', this.#wake);
    const params = this.#params;
    if (params) {
      this.#post(`/leave/${this.#path}`, '').catch(() => {});
      if (this.connected) this.#frame({ cmd: 'send', msg: JSON.stringify(BYE) });
    }
    this.#drop(1000);
    if (params) fetch(`${params.wss_post_url}/${this.#path}`, { method: 'DELETE', keepalive: true }).catch(() => {});
  }

  #wake = () => {
    if (this.#closed || this.#socket) return;
    clearTimeout(this.#timer);
    this.#connect();
  };

  get #path() {
    return `${this.#params.room_id}/${this.#params.client_id}`;
  }

  async #join() {
    let answer;
    try {
      const response = await this.#post(`/join/${encodeURIComponent(this.#room)}${location.search}`, '');
      if (response.status === 404) return this.#on.refused('no-such-room');
      answer = await response.json();
    } catch {
      return this.#lost();
    }
    if (this.#closed) return;
    if (answer.result !== 'SUCCESS') return this.#on.refused(answer.result === 'FULL' ? 'full' : 'token-required');
    const { params } = answer;
    this.#params = params;
    this.#initiator = params.is_initiator === 'true';
    this.#on.ice(await this.#ice(params));
    if (this.#closed) return;
    this.#connect(params.messages);
  }

  /** Where the relays are. Without an answer the call may still find a direct path. */
  async #ice(params) {
    const config = JSON.parse(params.pc_config);
    try {
      const response = await this.#post(params.ice_server_url, '');
      return { ...config, ...(await response.json()) };
    } catch {
      return config;
    }
  }

  /** Opens the socket. `messages`: what the other one said before we joined; without, we are coming back. */
  #connect(messages) {
    if (!this.#params) return this.#join();
    const socket = new WebSocket(this.#params.wss_url);
    this.#socket = socket;
    this.#timer = setTimeout(() => socket.readyState === WebSocket.CONNECTING && this.#lost(messages), PATIENCE_MS);
    socket.onopen = () => {
      clearTimeout(this.#timer);
      this.#attempt = 0;
      this.#frame({ cmd: 'register', roomid: this.#params.room_id, clientid: this.#params.client_id });
      if (messages) this.#joined(messages.map(parse));
      else this.#on.resumed(null);
      messages = null;
    };
    socket.onmessage = ({ data }) => {
      const { msg, error } = parse(data) ?? {};
      // Our place is gone, and the other one was told so: as somebody new, then.
      if (error) this.#params = null;
      else if (msg) this.#hear(parse(msg));
    };
    socket.onclose = ({ code, reason }) => {
      // The operator has ended it: to come back would be to begin anew.
      if (code === POLICY && reason === EVICTED) {
        this.close();
        this.#on.refused('ended');
      } else {
        this.#lost(messages);
      }
    };
  }

  #joined(messages) {
    if (this.#initiator) {
      this.#on.joined([], false);
      this.#on.member(PEER, false, true);
      return;
    }
    this.#on.joined([{ uid: PEER, polite: true }], false);
    // They were posted side by side and may have passed each other.
    const isDescription = (message) => message?.type === 'offer' || message?.type === 'answer';
    const [first, rest] = [messages.filter(isDescription), messages.filter((message) => !isDescription(message))];
    for (const message of [...first, ...rest]) this.#hear(message);
  }

  #hear(message) {
    switch (message?.type) {
      case 'offer':
      case 'answer':
      case 'candidate':
        return this.#on.frame(message.type, PEER, message);
      case 'bye':
        this.#on.frame('hangup', PEER, {});
        // The room is ours now, and the next one to come finds our offer there.
        this.#initiator = true;
        return this.#on.member(PEER, false, true);
    }
  }

  #lost(messages) {
    this.#drop();
    if (this.#closed) return;
    this.#attempt += 1;
    this.#on.down(this.#attempt);
    const base = BACKOFF_MS[Math.min(this.#attempt, BACKOFF_MS.length) - 1];
    this.#timer = setTimeout(() => this.#connect(messages), base * (0.75 + Math.random() / 2));
  }

  #drop(code) {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  /** Whoever was first posts; the other one uses the socket, or posts to Collider without it. */
  #say(message) {
    if (!this.#params) return;
    const text = JSON.stringify(message);
    if (!this.#initiator && this.connected) return this.#frame({ cmd: 'send', msg: text });
    const { wss_post_url: collider } = this.#params;
    const url = this.#initiator ? `/message/${this.#path}` : `${collider}/${this.#path}`;
    this.#posts = this.#posts.then(() => this.#post(url, text)).catch(() => {});
  }

  #frame(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  #post(url, body) {
    const signal = this.#closed ? undefined : AbortSignal.timeout(PATIENCE_MS);
    return fetch(url, { method: 'POST', body, keepalive: this.#closed, signal });
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

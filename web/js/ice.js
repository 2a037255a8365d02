// ICE configuration: asks the server for it, narrows it for a test, and remembers how each relay
// attempt went so that a failed call can name it. Opens no peer connection itself.

const PATIENCE_MS = 5000;

/** The transport a TURN URL speaks to the relay: 'udp', 'tcp', 'tls'; null for STUN. */
export function transportOf(url) {
  if (/^turns:/i.test(url)) return 'tls';
  if (!/^turn:/i.test(url)) return null;
  return /[?&]transport=tcp\b/i.test(url) ? 'tcp' : 'udp';
}

/**
 * The RTCConfiguration from an answer of `/ice` and the page's own query:
 * `?policy=relay` forces the relay, `?transport=udp|tcp|tls` keeps only such relays.
 */
export function configuration(answer, query = new URLSearchParams()) {
  const wanted = query.get('transport');
  const iceServers = [];
  for (const server of answer.iceServers ?? []) {
    const urls = [server.urls ?? []].flat().filter((url) => {
      const transport = transportOf(url);
      return !transport || !wanted || transport === wanted;
    });
    if (urls.length) iceServers.push({ ...server, urls });
  }
  const policy = query.get('policy') ?? answer.iceTransportPolicy;
  return { iceServers, iceTransportPolicy: policy === 'relay' ? 'relay' : 'all', bundlePolicy: 'max-bundle' };
}

/** Fetches and keeps the configuration; a network that has just changed may need a second try. */
export class IceSource {
  #query;
  #room;
  #kept = null;
  #until = 0;
  #asking = null;
  /** Why there is no relay: null, or an HTTP status, or 'network'. */
  problem = null;

  constructor(room, query) {
    this.#room = room;
    this.#query = query;
  }

  /** The configuration; never throws: without the server a direct path may still work. */
  get(uid) {
    if (this.#kept && Date.now() < this.#until) return Promise.resolve(this.#kept);
    this.#asking ??= this.#ask(uid).finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #ask(uid) {
    for (const pause of [0, 700, 2000]) {
      if (pause) await new Promise((done) => setTimeout(done, pause));
      try {
        const ids = new URLSearchParams({ room: this.#room, uid });
        const reply = await fetch(`/ice?${ids}`, { method: 'POST', cache: 'no-store', signal: AbortSignal.timeout?.(PATIENCE_MS) });
        if (!reply.ok) {
          this.problem = reply.status;
          // 403 and the like do not change by asking again; 429 and 5xx may.
          if (reply.status < 500 && reply.status !== 429) break;
          continue;
        }
        const answer = await reply.json();
        this.problem = null;
        this.#kept = configuration(answer, this.#query);
        // Expiry gates new allocations only, but an ICE restart makes new ones: stay well inside.
        this.#until = Date.now() + Math.min(Number(answer.ttl) || 600, 86400) * 500;
        return this.#kept;
      } catch {
        this.problem = 'network';
      }
    }
    return this.#kept ?? configuration({}, this.#query);
  }
}

/** What gathering showed about each relay of one connection. */
export class RelayReport {
  #tried = new Map();

  constructor(config) {
    for (const { urls } of config.iceServers) {
      for (const url of urls) {
        const transport = transportOf(url);
        if (transport) this.#tried.set(url, { url, transport, result: 'silent' });
      }
    }
  }

  candidate(candidate) {
    if (candidate?.type !== 'relay') return;
    // Browsers that do not name the server still name the transport, in one way or another.
    const transport = candidate.relayProtocol ?? transportOf(candidate.url ?? '');
    for (const attempt of this.#tried.values()) {
      if (attempt.url === candidate.url || attempt.transport === transport) attempt.result = 'ok';
    }
  }

  error({ url, errorCode, errorText }) {
    const attempt = this.#tried.get(url) ?? [...this.#tried.values()].find((one) => url?.startsWith(one.url));
    // 701 is the browser's own "no answer", which it reports once an interface.
    if (!attempt || attempt.result === 'ok') return;
    attempt.result = errorCode === 701 ? 'unreachable' : 'refused';
    attempt.detail = errorCode === 701 ? '' : `${errorCode} ${errorText ?? ''}`.trim();
  }

  /** One entry a relay URL: `{url, transport, result: 'ok'|'silent'|'unreachable'|'refused', detail}`. */
  list() {
    return [...this.#tried.values()];
  }
}

// ICE configuration: narrows it for a test, and remembers how each relay attempt went so that a failed
// call can name it. Opens no peer connection itself.

/** The transport a TURN URL speaks to the relay: 'udp', 'tcp', 'tls'; null for STUN. */
export function transportOf(url) {
  if (/^turns:/i.test(url)) return 'tls';
  if (!/^turn:/i.test(url)) return null;
  return /[?&]transport=tcp\b/i.test(url) ? 'tcp' : 'udp';
}

/**
 * The RTCConfiguration from the server's `ice` (or an answer of `/ice`) and the page's own query:
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

/** Keeps the configuration that the server gives with the seat, and again before it expires. */
export class IceSource {
  #query;
  #kept;
  #taken;

  constructor(query) {
    this.#query = query;
    this.#kept = new Promise((taken) => (this.#taken = taken));
  }

  take(answer) {
    const kept = configuration(answer, this.#query);
    this.#taken(kept);
    this.#kept = Promise.resolve(kept);
  }

  /** The configuration, once there is one. */
  get() {
    return this.#kept;
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

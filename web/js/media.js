// Our own microphone and camera: asking for them, switching between them, letting them go.
// A missing or refused device is a fact to show, never a reason not to call.

const KEY = 'callbox.devices';
const INPUT = { audio: 'audioinput', video: 'videoinput' };
const PERMISSION = { audio: 'microphone', video: 'camera' };

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

/** Why a device is not there, as a word the page has a text for. */
export function problemOf(error) {
  switch (error?.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'denied';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'missing';
    case 'NotReadableError':
    case 'AbortError':
      return 'busy';
    default:
      return 'unknown';
  }
}

/** `changed(kind)` is called after any change of a track, a list or a problem. */
export class Media {
  /** Each: `track` or null, `on` = wanted by the person, `problem` = null | denied | missing | busy | lost | insecure | unknown. */
  audio = { track: null, on: true, problem: null, id: '', devices: [] };
  video = { track: null, on: true, problem: null, id: '', devices: [], facing: 'user' };
  /** True while the browser may be asking the person. */
  asking = false;
  #changed;
  #line = Promise.resolve();

  constructor(changed) {
    this.#changed = changed;
    const ids = remembered();
    this.audio.id = ids.audio ?? '';
    this.video.id = ids.video ?? '';
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.#list());
  }

  get tracks() {
    return { audio: this.audio.track, video: this.video.track };
  }

  /** What the other side may expect from us. */
  get status() {
    return { audio: Boolean(this.audio.track && this.audio.on), video: Boolean(this.video.track) };
  }

  /** Asks for whatever is there. */
  start() {
    return this.#inLine(async () => {
      if (!navigator.mediaDevices?.getUserMedia) {
        this.audio.problem = this.video.problem = 'insecure';
        return;
      }
      await this.#list();
      const kinds = [];
      for (const kind of ['audio', 'video']) {
        if (!this[kind].devices.length) this[kind].problem = 'missing';
        else if (await blocked(kind)) this[kind].problem = 'denied';
        else kinds.push(kind);
      }
      await this.#open(kinds);
    });
  }

  /** Microphone: muted means silence is sent. Camera: off means the device is let go and its light is out. */
  set(kind, on) {
    return this.#inLine(async () => {
      const own = this[kind];
      own.on = on;
      if (kind === 'audio' && own.track) own.track.enabled = on;
      else if (!on) this.#stop(kind);
      else if (!own.track) await this.#open([kind]);
    });
  }

  /** Another device of the kind. */
  use(kind, id) {
    return this.#inLine(async () => {
      this[kind].id = id;
      this.#remember();
      if (kind === 'video') this.video.facing = 'user';
      if (kind === 'video' && !this.video.on) return;
      this.#stop(kind);
      await this.#open([kind]);
    });
  }

  /** The other camera of a phone. */
  flip() {
    return this.#inLine(async () => {
      // Many phones cannot have both open.
      this.#stop('video');
      this.video.id = '';
      this.video.facing = this.video.facing === 'user' ? 'environment' : 'user';
      await this.#open(['video']);
    });
  }

  stop() {
    return this.#inLine(async () => {
      this.#stop('audio');
      this.#stop('video');
    });
  }

  /** One change at a time: two open requests would race for the same camera. */
  #inLine(change) {
    this.#line = this.#line.then(change).catch((error) => console.warn('devices:', error)).then(() => this.#changed());
    return this.#line;
  }

  async #open(kinds) {
    if (!kinds.length) return;
    this.asking = true;
    this.#changed();
    try {
      this.#take(await navigator.mediaDevices.getUserMedia(this.#constraints(kinds)));
    } catch (error) {
      const problem = problemOf(error);
      if (problem === 'missing' && kinds.some((kind) => this[kind].id)) {
        // The remembered device is gone.
        for (const kind of kinds) this[kind].id = '';
        return await this.#open(kinds);
      }
      if (kinds.length > 1 && problem !== 'denied') {
        // One bad device must not cost the other.
        for (const kind of kinds) await this.#open([kind]);
        return;
      }
      for (const kind of kinds) this[kind].problem = problem;
    } finally {
      this.asking = false;
    }
    // Names of devices are told only after the permission.
    await this.#list();
  }

  #constraints(kinds) {
    const device = (kind) => (this[kind].id ? { deviceId: { exact: this[kind].id } } : {});
    return {
      audio: kinds.includes('audio') && { ...device('audio'), echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      video: kinds.includes('video') && {
        ...device('video'),
        ...(this.video.id ? {} : { facingMode: this.video.facing }),
        width: { ideal: 1280 },
        height: { ideal: 720 },
        frameRate: { ideal: 30 },
      },
    };
  }

  #take(stream) {
    for (const track of stream.getTracks()) {
      const own = this[track.kind];
      own.track?.stop();
      own.track = track;
      own.problem = null;
      if (track.kind === 'audio') track.enabled = own.on;
      track.onended = () => {
        if (own.track !== track) return;
        own.track = null;
        own.problem = 'lost';
        this.#changed();
      };
    }
  }

  #stop(kind) {
    const own = this[kind];
    if (!own.track) return;
    own.track.onended = null;
    own.track.stop();
    own.track = null;
  }

  async #list() {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    for (const kind of ['audio', 'video']) {
      const own = this[kind];
      own.devices = all.filter((device) => device.kind === INPUT[kind] && device.deviceId !== 'communications');
      if (own.devices.length && own.problem === 'missing') own.problem = null;
    }
    this.#changed();
  }

  #remember() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ audio: this.audio.id, video: this.video.id }));
    } catch {
      // Private windows forget; so be it.
    }
  }
}

/** Whether asking is known to be in vain: then only the other device is asked for. */
async function blocked(kind) {
  try {
    return (await navigator.permissions.query({ name: PERMISSION[kind] })).state === 'denied';
  } catch {
    return false;
  }
}

// What is on the screen: turns states into visible elements. Decides nothing; what people press is
// told to `app.js` through `onAction`.

import { t } from './i18n.js';

export const $ = (id) => document.getElementById(id);
const all = (selector) => document.querySelectorAll(selector);
const ICONS = { audio: ['mic', 'mic-off'], video: ['cam', 'cam-off'] };
const WORDS = { audio: ['action.mute', 'action.unmute'], video: ['action.cameraOff', 'action.cameraOn'] };

function icon(element, name) {
  element.querySelector('use').setAttribute('href', `#i-${name}`);
}

/** Shows one of the three pages. */
export function view(name) {
  for (const id of ['home', 'lobby', 'call']) $(id).hidden = id !== name;
}

/** Calls `run(what, element)` for every element marked `data-do`, and for device lists as `use`. */
export function onAction(run) {
  document.addEventListener('click', (event) => {
    const button = event.target.closest?.('[data-do]');
    if (button) run(button.dataset.do, button);
  });
  for (const select of all('select[data-device]')) {
    select.addEventListener('change', () => run('use', select));
  }
}

export function setRoom(room, link) {
  for (const element of all('[data-room]')) element.textContent = room;
  for (const element of all('[data-link]')) element.textContent = decodeURI(link).replace(/^https?:\/\//, '');
  document.title = `${room} · callbox`;
}

let toastTimer = 0;

/** A short confirmation that goes by itself. */
export function toast(text) {
  const box = $('toast');
  box.textContent = text;
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (box.hidden = true), 2500);
}

/** Attaches a stream only when it changed: setting it again makes the picture blink. */
export function attach(video, stream) {
  if (video.srcObject !== stream) video.srcObject = stream;
}

// Own devices

/** Buttons, lists and notices for our own devices. */
export function showMedia(media, severalCameras) {
  for (const button of all('button[data-do="audio"], button[data-do="video"]')) {
    const kind = button.dataset.do;
    const on = media.status[kind];
    const word = t(WORDS[kind][on ? 0 : 1]);
    button.dataset.on = String(on);
    button.setAttribute('aria-label', word);
    button.title = word;
    icon(button, ICONS[kind][on ? 0 : 1]);
  }
  for (const button of all('[data-do="flip"]')) button.hidden = !severalCameras || !media.video.track;
  for (const select of all('select[data-device]')) fill(select, media[select.dataset.device]);
  const problem = problemText(media);
  for (const id of ['lobby-problem', 'call-problem']) {
    $(id).textContent = problem;
    $(id).hidden = !problem;
  }
  $('lobby-asking').hidden = !media.asking;
  $('preview-blank').hidden = media.status.video;
  $('self-blank').hidden = media.status.video;
  $('self-muted').hidden = media.status.audio;
  const { audio, video } = media.tracks;
  let join = 'lobby.join';
  if (!audio && !video) join = media.asking ? 'lobby.join' : 'lobby.joinListen';
  else if (!video) join = 'lobby.joinAudio';
  else if (!audio) join = 'lobby.joinVideo';
  $('join').textContent = t(join);
}

function fill(select, own) {
  const kind = select.dataset.device;
  const options = own.devices.map((device, index) => {
    const label = device.label || t(`device.${kind}`, { n: index + 1 });
    return new Option(label, device.deviceId);
  });
  select.replaceChildren(...(options.length ? options : [new Option(t('lobby.noDevice'), '')]));
  select.disabled = !options.length;
  const current = own.track?.getSettings?.().deviceId ?? own.id;
  if (own.devices.some((device) => device.deviceId === current)) select.value = current;
}

function problemText({ audio, video }) {
  if (audio.problem && audio.problem === video.problem) {
    const both = audio.problem === 'insecure' ? 'problem.insecure' : `problem.both.${audio.problem}`;
    const text = t(both);
    if (text !== both) return text;
  }
  const text = (kind, problem) => (problem ? t(`problem.${kind}.${problem}`) : '');
  return [text('audio', audio.problem), text('video', video.problem)].filter(Boolean).join(' ');
}

// The call

const CARD = {
  connecting: { title: 'state.connecting', spinner: true },
  waiting: { title: 'state.waiting', what: 'state.waiting.do', link: true },
  left: { title: 'state.left', what: 'state.left.do', link: true },
  calling: { title: 'state.calling', spinner: true },
  reconnecting: { title: 'state.reconnecting', what: 'state.reconnecting.do', spinner: true },
  full: { title: 'failed.full', what: 'failed.full.do', warn: true, retry: 'action.retry', home: true },
  locked: { title: 'failed.locked', what: 'failed.locked.do', warn: true, retry: 'action.retry', home: true },
  absent: { title: 'failed.absent', what: 'failed.absent.do', warn: true, retry: 'action.retry' },
  token: { title: 'failed.token', what: 'failed.token.do', warn: true },
  removed: { title: 'failed.removed', what: 'failed.removed.do', warn: true, home: true },
  server: { title: 'failed.server', what: 'failed.server.do', warn: true, spinner: true },
  path: { title: 'failed.path', what: 'failed.path.do', warn: true, retry: 'action.retry' },
  silent: { title: 'failed.silent', what: 'failed.silent.do', warn: true, retry: 'action.retry' },
  ended: { title: 'state.ended', what: 'state.ended.do', retry: 'action.rejoin', home: true },
};

/** Reasons to have no seat at all. */
const FINAL = new Set(['full', 'locked', 'absent', 'token', 'removed']);

/** Which card a state shows; null when the picture speaks for itself. */
function cardOf(state, evidence) {
  if (state.phase === 'connected') return null;
  if (state.phase === 'waiting' && state.peerLeft) return 'left';
  if (state.phase !== 'failed') return state.phase;
  return state.reason === 'path' && evidence.silent ? 'silent' : state.reason;
}

/** The state of the call: card, banner, what screen readers hear. */
export function showState(state, evidence, hasPicture) {
  const root = $('call');
  const name = cardOf(state, evidence);
  root.dataset.phase = state.phase;
  root.dataset.peer = hasPicture ? 'yes' : 'no';
  root.dataset.ended = state.phase === 'ended' || FINAL.has(state.reason) ? 'yes' : 'no';
  const card = name && CARD[name];
  $('card').hidden = !card;
  if (card) {
    $('card-title').textContent = t(card.title);
    $('card-do').textContent = card.what ? t(card.what) : '';
    $('card-do').hidden = !card.what;
    $('card-spinner').hidden = !card.spinner;
    $('card-icon').hidden = !card.warn || Boolean(card.spinner);
    $('card-link').hidden = $('card-copy').hidden = !card.link;
    $('card-share').hidden = !card.link || !navigator.share;
    $('card-retry').hidden = !card.retry;
    $('card-retry').textContent = card.retry ? t(card.retry) : '';
    $('card-home').hidden = !card.home;
    const tried = name === 'path' ? triedLines(evidence) : [];
    $('card-list').hidden = !tried.length;
    $('card-list').replaceChildren(...tried.map((line) => Object.assign(document.createElement('li'), { textContent: line })));
  }
  const offline = state.phase === 'connected' && state.peerOffline;
  $('banner').hidden = !offline;
  $('banner').textContent = offline ? t('state.peerOffline') : '';
  say(card ? [t(card.title), card.what && t(card.what)].filter(Boolean).join('. ') : t(offline ? 'state.peerOffline' : 'state.connected'));
}

let said = '';

function say(text) {
  if (text === said) return;
  said = text;
  $('live').textContent = text;
}

/** What was tried on the way to "no path", a line each. */
function triedLines({ relays }) {
  const lines = [t('tried.direct')];
  if (!relays.length) lines.push(t('tried.none'));
  for (const { url, transport, result, detail } of relays) {
    const server = url.replace(/^turns?:/, '').replace(/\?.*/, '');
    lines.push(t(`tried.${result}`, { transport: transport.toUpperCase(), server, detail }));
  }
  return lines;
}

/** The other side: what it told about its devices. */
export function showRemote(remote, connected) {
  $('remote-blank').hidden = !(connected && remote && !remote.video);
  $('peer-muted').hidden = !(connected && remote && !remote.audio);
}

let wasLocked = null;

/** Whether the room is closed to newcomers, and the button for it; null: there is no room. */
export function showDoor(door) {
  const button = $('lock');
  const { locked = false, mayLock = false } = door ?? {};
  button.hidden = !mayLock && !locked;
  // Who may not change it can see it.
  button.disabled = !mayLock;
  button.setAttribute('aria-pressed', String(locked));
  let word = t(locked ? 'action.unlock' : 'action.lock');
  if (!mayLock) word = t('state.locked');
  button.setAttribute('aria-label', word);
  button.title = word;
  icon(button, locked ? 'lock' : 'unlock');
  // News only: neither the room as it was found nor a room that was left.
  if (door && wasLocked !== null && wasLocked !== locked) toast(t(locked ? 'state.locked' : 'state.unlocked'));
  wasLocked = door ? locked : null;
}

/** Those who are in the call besides the one in the large picture: a tile each. */
export function showOthers(others) {
  const stage = $('stage');
  const tiles = new Map([...all('#stage .peer[data-uid]')].map((tile) => [tile.dataset.uid, tile]));
  for (const { uid, stream, remote, away } of others) {
    let tile = tiles.get(uid);
    if (tile) tiles.delete(uid);
    else {
      tile = $('peer-tile').content.firstElementChild.cloneNode(true);
      tile.dataset.uid = uid;
      stage.append(tile);
    }
    attach(tile.querySelector('video'), stream);
    tile.querySelector('.blank').hidden = !remote || remote.video;
    tile.querySelector('.badge').hidden = !remote || remote.audio;
    tile.classList.toggle('away', away);
  }
  for (const tile of tiles.values()) tile.remove();
  stage.style.setProperty('--columns', Math.ceil(Math.sqrt(others.length + 1)));
  stage.dataset.many = others.length ? 'yes' : 'no';
}

/** The chip that names the path, and the dialog behind it. */
export function showPath(path, quality) {
  $('path').hidden = !path;
  if (!path) return;
  const transport = path.relay?.toUpperCase() ?? '';
  $('path').dataset.kind = path.kind;
  icon($('path'), path.kind === 'direct' ? 'direct' : 'relay');
  const name = t(`path.${path.kind}`, { transport });
  const rtt = path.rtt === null ? '' : t('path.ms', { n: path.rtt });
  $('path-text').textContent = name;
  $('path-rtt').textContent = rtt;
  $('path').setAttribute('aria-label', [name, rtt, t('action.details')].filter(Boolean).join(', '));
  const details = {
    path: t(`details.path.${path.kind}`, { transport }),
    rtt: rtt || '–',
    picture: quality.width ? `${quality.width} × ${quality.height}, ${quality.fps} fps, ${quality.codec}` : '–',
    rate: quality.kbitIn === null ? '–' : `${quality.kbitIn} / ${quality.kbitOut} kbit/s`,
    loss: quality.lossPercent === null ? '–' : `${quality.lossPercent.toFixed(1)} %`,
    candidates: `${path.local} (${path.protocol}) → ${path.remote}`,
  };
  for (const element of all('[data-detail]')) element.textContent = details[element.dataset.detail];
}

/** Fills the stage when little of the picture is lost by it, else shows all of the picture. */
export function fitRemote() {
  const video = $('remote');
  const { videoWidth: width, videoHeight: height, clientWidth: across, clientHeight: down } = video;
  if (!width || !down) return;
  const shape = width / height / (across / down);
  video.classList.toggle('fill', Math.min(shape, 1 / shape) > 0.62);
}

/** The person's own choice, until the picture or the window changes its shape. */
export function toggleFit() {
  $('remote').classList.toggle('fill');
}

/** Lets the person drag their own picture into another corner. */
export function draggableSelf() {
  const self = $('self');
  let from = null;
  self.addEventListener('pointerdown', (event) => {
    if ($('call').dataset.peer !== 'yes') return;
    from = { x: event.clientX, y: event.clientY };
    self.setPointerCapture(event.pointerId);
    self.classList.add('dragging');
  });
  self.addEventListener('pointermove', (event) => {
    if (from) self.style.translate = `${event.clientX - from.x}px ${event.clientY - from.y}px`;
  });
  const drop = (event) => {
    if (!from) return;
    from = null;
    self.classList.remove('dragging');
    self.style.translate = '';
    const corner = (event.clientY < innerHeight / 2 ? 't' : 'b') + (event.clientX < innerWidth / 2 ? 'l' : 'r');
    self.className = `tile corner-${corner}`;
  };
  self.addEventListener('pointerup', drop);
  self.addEventListener('pointercancel', drop);
}

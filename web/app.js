// The calling page's wires: address bar, devices, call and screen. The only module that knows all others.
//
// For tests and for people who look for a fault, `window.callbox` has:
//   room, language        as understood from the address
//   state                 {phase, reason, peerLeft, peerOffline}; phase 'home' | 'lobby' | 'ended' or Call's
//   media                 {audio, video, problems}: what is on, and why something is not
//   pc                    the RTCPeerConnection in use, or null
//   evidence              how each relay was tried
//   door                  {locked, mayLock}, or null
//   others                those in the call besides the one of pc: [{uid, away}]
//   stats()               promise of {path, quality}: see js/path.js
// Query: ?policy=relay, ?transport=udp|tcp|tls (relays of that kind only), ?lang=en|zh, ?dialect=apprtc (a room of
// AppRTC's clients). An invitation, where the server demands one, is #token=… or ?token=….

import { Call } from './js/call.js';
import { Chat } from './js/chat.js';
import { choose, speak, t, translate } from './js/i18n.js';
import { Media } from './js/media.js';
import { meter } from './js/meter.js';
import { pathOf, quality } from './js/path.js';
import { randomName, roomOf, roomPath, tidyName } from './js/room.js';
import * as ui from './js/ui.js';

const { $ } = ui;
const query = new URLSearchParams(location.search);
const language = speak(choose([query.get('lang'), ...(navigator.languages ?? [navigator.language])].filter(Boolean)));
document.documentElement.lang = language === 'zh' ? 'zh-CN' : language;
translate(document);

const room = roomOf(location.pathname);
let phase = 'home';
let call = null;
let chat = null;
let media = null;
let ownStream = new MediaStream();
let stopMeter = () => {};
let metered = null;
// What the other side and the screen were told last, to tell changes only.
let told = '';
let shown = '';
let before = null;
let wakeLock = null;

function openHome() {
  const input = $('home-room');
  const another = () => (input.value = randomName());
  another();
  $('home-another').addEventListener('click', another);
  $('home-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const name = tidyName(input.value);
    $('home-error').textContent = name ? '' : t('home.empty');
    if (name) location.assign(roomPath(name) + location.search);
    else input.focus();
  });
  ui.view('home');
}

// The link to send: without our own overrides, but for the one that tells which room of this name is meant.
function link() {
  const dialect = query.get('dialect') === 'apprtc' ? '?dialect=apprtc' : '';
  return new URL(roomPath(room) + dialect, location.origin).href;
}

function openLobby() {
  phase = 'lobby';
  ui.setRoom(room, link());
  media = new Media(mediaChanged);
  ui.onAction(act);
  chat = new Chat((text) => call?.write(text));
  ui.draggableSelf();
  $('join').addEventListener('click', join);
  $('path').addEventListener('click', () => $('details').showModal());
  $('remote').addEventListener('resize', ui.fitRemote);
  $('remote').addEventListener('click', ui.toggleFit);
  addEventListener('resize', ui.fitRemote);
  addEventListener('pagehide', () => call?.leave());
  addEventListener('pageshow', (event) => event.persisted && location.reload());
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    call?.check();
    stayAwake();
  });
  setInterval(measure, 1000);
  ui.view('lobby');
  mediaChanged();
  media.start();
}

// Own devices

function mediaChanged() {
  if (!media) return;
  const { audio, video } = media.tracks;
  if ((ownStream.getVideoTracks()[0] ?? null) !== video) {
    ownStream = new MediaStream(video ? [video] : []);
    for (const id of ['preview', 'self-video']) ui.attach($(id), ownStream);
  }
  const mirrored = media.video.facing === 'user';
  for (const id of ['preview', 'self-video']) $(id).classList.toggle('mirror', mirrored);
  const wanted = phase === 'lobby' && media.status.audio ? audio : null;
  if (wanted !== metered) {
    stopMeter();
    metered = wanted;
    stopMeter = meter(wanted, (level) => ($('level').style.transform = `scaleX(${level})`));
  }
  const phone = matchMedia('(pointer: coarse)').matches;
  ui.showMedia(media, phone && media.video.devices.length > 1);
  call?.setTrack('audio', audio);
  call?.setTrack('video', video);
  tellPeer();
}

function tellPeer() {
  const now = JSON.stringify(media.status);
  if (now !== told) call?.tell();
  told = now;
}

// The call

function join() {
  phase = 'call';
  shown = '';
  ui.view('call');
  call = new Call({
    room,
    token: new URLSearchParams(location.hash.slice(1)).get('token') ?? query.get('token'),
    query,
    media: () => ({ tracks: media.tracks, status: media.status }),
    changed: callChanged,
    chat: (uid, text) => chat.hear(uid, text),
  });
  mediaChanged();
  callChanged();
  stayAwake();
  // What was pressed is gone; keyboard users go on from here.
  document.querySelector('.toolbar button').focus({ preventScroll: true, focusVisible: false });
}

function leave() {
  phase = 'ended';
  call?.leave();
  call = null;
  media.stop();
  chat.clear();
  wakeLock?.release().catch(() => {});
  ui.attach($('remote'), null);
  ui.showPath(null);
  ui.showRemote(null, false);
  callChanged();
  $('card-retry').focus({ focusVisible: false });
}

async function retry() {
  if (call) {
    call.leave();
    call = null;
    join();
    return;
  }
  await media.start();
  join();
}

function state() {
  if (call) return call.state;
  return { phase: phase === 'call' ? 'connecting' : phase, reason: null, peerLeft: false, peerOffline: false };
}

function callChanged() {
  const now = state();
  const live = now.phase === 'connected' || now.phase === 'reconnecting';
  const stream = live ? call?.stream ?? null : null;
  ui.attach($('remote'), stream);
  ui.showState(now, call?.evidence ?? { relays: [] }, Boolean(stream?.getTracks().length));
  ui.showRemote(call?.remote, now.phase === 'connected');
  ui.showOthers(live ? call.others : []);
  ui.showDoor(now.phase === 'failed' || !call ? null : call.door);
  chat.company(Boolean(call?.company));
  $('chat-button').hidden = !call?.chats;
  if (now.phase !== 'connected') ui.showPath(null);
  if (now.phase === 'connected' && shown !== 'connected') {
    measure();
    play();
  }
  shown = now.phase;
}

async function play() {
  try {
    await $('remote').play();
    $('unmute-remote').hidden = true;
  } catch (error) {
    // Another stream took its place meanwhile: that one has its own start.
    if (error.name === 'NotAllowedError') $('unmute-remote').hidden = false;
  }
}

async function stats() {
  const pc = call?.pc;
  if (!pc) return { path: null, quality: null };
  const report = await pc.getStats();
  const now = quality(report, before?.pc === pc ? before.quality : null);
  return { path: pathOf(report), quality: now };
}

async function measure() {
  if (call?.state.phase !== 'connected') return;
  const { pc } = call;
  const now = await stats();
  if (call?.pc !== pc || call.state.phase !== 'connected') return;
  before = { pc, quality: now.quality };
  ui.showPath(now.path, now.quality);
}

// What people press

async function act(what, element) {
  switch (what) {
    case 'audio':
    case 'video':
      return media.set(what, !media.status[what]);
    case 'use':
      return media.use(element.dataset.device, element.value);
    case 'flip':
      return media.flip();
    case 'lock':
      return call?.lock(!call.door.locked);
    case 'chat':
      return chat.toggle();
    case 'settings':
      return $('settings').showModal();
    case 'copy':
      return copyLink();
    case 'share':
      return navigator.share({ title: t('share.text'), url: link() }).catch(() => {});
    case 'leave':
      return leave();
    case 'retry':
      return retry();
    case 'sound':
      return play();
  }
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(link());
    ui.toast(t('action.copied'));
  } catch {
    // No clipboard here: show the link, so that it can be copied by hand.
    ui.toast(link());
  }
}

// A phone that goes to sleep ends the call.
async function stayAwake() {
  if (!call || document.hidden) return;
  try {
    wakeLock = await navigator.wakeLock.request('screen');
  } catch {
    wakeLock = null;
  }
}

window.callbox = {
  room,
  language,
  get state() {
    return state();
  },
  get media() {
    return media && { ...media.status, problems: { audio: media.audio.problem, video: media.video.problem } };
  },
  get pc() {
    return call?.pc ?? null;
  },
  get evidence() {
    return call?.evidence ?? null;
  },
  get door() {
    return call?.door ?? null;
  },
  get others() {
    return call?.others.map(({ uid, away }) => ({ uid, away })) ?? [];
  },
  stats,
};

if (room) openLobby();
else openHome();
document.body.classList.add('ready');

// The dashboard: asks /readyz, /metrics and /sessions again and again and shows what they say. Knows nothing that
// these do not tell, and changes nothing but by DELETE /sessions/{id}.

import { LANGUAGES, language } from './texts.js';

const INTERVAL_MS = 2000;
const TIMEOUT_MS = 5000;
/** Rows of each table. */
const ROWS = 50;
/** Points of the curve, and how far back "the last minute" reaches, in rounds. */
const POINTS = 150;
const MINUTE = 60000 / INTERVAL_MS;

/** Families whose samples are errors, and the label values that are none. */
const ERRORS = {
  callbox_turn_answers_total: { code: ['success', '401'] },
  callbox_turn_unanswered_total: {},
  callbox_turn_malformed_total: {},
  callbox_turn_refused_peers_total: {},
  callbox_turn_dropped_packets_total: {},
  callbox_signaling_refused_joins_total: {},
  callbox_signaling_dropped_messages_total: {},
  callbox_signaling_cut_connections_total: {},
  callbox_http_websockets_total: { result: ['accepted'] },
  callbox_http_foreign_origins_total: {},
  callbox_http_proxied_total: { result: ['answered'] },
  callbox_ice_configurations_total: { result: ['granted'] },
  callbox_front_handshakes_total: { result: ['ok'] },
  callbox_front_shed_connections_total: {},
  callbox_front_routed_connections_total: { to: ['http', 'turn'] },
  callbox_front_accept_errors_total: {},
  callbox_certificate_failures_total: {},
};

const $ = (id) => document.getElementById(id);
let lang = language();
let token = sessionStorage.getItem('token');
/** Earlier rounds, the newest last: when, and all samples by name and labels. */
const rounds = [];

function say(key, values = {}) {
  return LANGUAGES[lang][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function translate() {
  document.documentElement.lang = lang;
  for (const element of document.querySelectorAll('[data-text]')) element.textContent = say(element.dataset.text);
  $('language').textContent = say('other');
}

/** An element with text or children in it. */
function make(tag, ...content) {
  const element = document.createElement(tag);
  element.append(...content);
  return element;
}

class Locked extends Error {}

async function ask(path, method = 'GET') {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { method, headers, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status === 401) throw new Locked();
  return answer;
}

/** Samples of the page in Prometheus' text format: a map of `name{labels}` to `{name, labels, value}`. */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split('\n')) {
    const found = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const [, name, list = '', value] = found;
    const labels = Object.fromEntries([...list.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, text]) => [key, text]));
    samples.set(`${name}{${list}}`, { name, labels, value: Number(value) });
  }
  return samples;
}

function total(samples, name, labels = {}) {
  let sum = 0;
  for (const sample of samples.values()) {
    if (sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value)) sum += sample.value;
  }
  return sum;
}

/** The sum of several families. */
function all(samples, names) {
  return names.reduce((sum, name) => sum + total(samples, name), 0);
}

/** Bits a second between the last two rounds. */
function rate(name, labels) {
  const [before, after] = rounds.slice(-2);
  if (!after) return 0;
  const bytes = total(after.samples, name, labels) - total(before.samples, name, labels);
  return Math.max(0, (bytes * 8000) / (after.at - before.at));
}

function scaled(value, unit) {
  let step = 0;
  for (; value >= 1000 && step < 4; step += 1) value /= 1000;
  return `${value.toFixed(step && value < 100 ? 1 : 0)} ${['', 'k', 'M', 'G', 'T'][step]}${unit}`;
}

const bits = (value) => scaled(value, 'bit/s');
const bytes = (value) => scaled(value, 'B');

function lasting(seconds) {
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  const clock = [hours, minutes, Math.floor(seconds % 60)].map((part) => String(part).padStart(2, '0')).join(':');
  return days ? `${days} d ${clock}` : clock;
}

/** Terms and values. */
function facts(list, entries) {
  list.replaceChildren(...entries.filter(([, value]) => value !== undefined && value !== null && value !== '')
    .map(([key, value]) => make('div', make('dt', say(key)), make('dd', String(value)))));
}

function rows(body, list, columns) {
  const none = make('tr', make('td', say('none')));
  none.firstChild.colSpan = columns;
  body.replaceChildren(...(list.length ? list : [none]));
}

function row(...cells) {
  return make('tr', ...cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : make('td', cell))));
}

function id(text) {
  const cell = make('td', text);
  cell.className = 'id';
  return cell;
}

function endButton(name) {
  const button = make('button', say('end'));
  button.type = 'button';
  button.dataset.end = name;
  return button;
}

function showState(kind, text) {
  $('state').className = `state ${kind}`;
  $('state').textContent = text;
}

function showStatus(status) {
  showState(status.ready ? 'good' : 'warn', say(status.ready ? 'ready' : 'draining'));
  $('about').textContent = say('about', { version: status.version, uptime: lasting(status.uptime_seconds) });
  const certificate = status.certificate ?? {};
  const end = Date.parse(certificate.not_after);
  const days = Math.floor((end - Date.now()) / 86400000);
  facts($('certificate'), [
    ['source', certificate.source],
    ['names', (certificate.names ?? []).join(', ')],
    ['until', Number.isNaN(end) ? certificate.not_after : say('days', { date: new Date(end).toLocaleString(lang), days })],
    ['trusted', say(certificate.publicly_valid ? 'yes' : 'no')],
    ['lastError', certificate.last_error],
    ['nextAttempt', certificate.next_attempt],
  ]);
}

function showNumbers(samples) {
  const ports = total(samples, 'callbox_turn_relay_ports');
  facts($('now'), [
    ['calls', total(samples, 'callbox_turn_allocations')],
    ['roomCount', all(samples, ['callbox_signaling_rooms', 'callbox_apprtc_rooms', 'callbox_signaling_guest_rooms'])],
    ['people', all(samples, ['callbox_signaling_members', 'callbox_apprtc_clients', 'callbox_signaling_guests'])],
    ['sockets', total(samples, 'callbox_signaling_connections')],
    ['ports', `${total(samples, 'callbox_turn_relay_ports_free', { family: 'ipv4' })} / ${ports}`],
    ['tcp', total(samples, 'callbox_front_connections_total')],
  ]);
  const relayed = 'callbox_turn_relayed_bytes_total';
  rows($('traffic'), ['udp', 'tcp', 'tls'].map((transport) => row(
    transport.toUpperCase(),
    bits(rate(relayed, { transport, direction: 'to_peer' })),
    bits(rate(relayed, { transport, direction: 'to_client' })),
    bytes(total(samples, relayed, { transport })),
  )), 4);
}

function showCurve() {
  const point = rounds.at(-1);
  point.up = rate('callbox_turn_relayed_bytes_total', { direction: 'to_peer' });
  point.down = rate('callbox_turn_relayed_bytes_total', { direction: 'to_client' });
  const top = Math.max(1, ...rounds.map(({ up, down }) => Math.max(up, down)));
  for (const way of ['up', 'down']) {
    const line = rounds.map((round, at) => `${((POINTS - rounds.length + at) * 300) / POINTS},${59 - (round[way] * 57) / top}`);
    $(way).setAttribute('d', `M${line.join('L')}`);
  }
}

function showErrors(samples) {
  const then = rounds.at(-1 - MINUTE) ?? rounds[0];
  const list = [];
  for (const [key, { name, labels, value }] of samples) {
    const fine = ERRORS[name];
    if (!fine || !value || Object.entries(fine).some(([label, values]) => values.includes(labels[label]))) continue;
    const recent = value - (then.samples.get(key)?.value ?? 0);
    const what = [name.replace(/^callbox_|_total$/g, '').replaceAll('_', ' '), ...Object.values(labels)].join(' · ');
    list.push([recent, value, what]);
  }
  list.sort((one, other) => other[0] - one[0] || other[1] - one[1]);
  rows($('errors'), list.slice(0, ROWS).map(([recent, value, what]) => row(what, recent, value)), 3);
}

function showSessions({ allocations }, { rooms }, more) {
  rows($('allocations'), allocations.map((it) => row(
    id(it.id), [it.client, it.user].filter(Boolean).join(' '), it.transport.toUpperCase(), lasting(it.age_seconds),
    bytes(it.sent.bytes), bytes(it.received.bytes), endButton(it.id),
  )), 7);
  rows($('rooms'), rooms.map((it) => row(
    id([it.id, it.name].filter(Boolean).join(' ')), it.dialect + (it.locked ? ` (${say('locked')})` : ''), lasting(it.age_seconds), it.messages,
    make('ul', ...it.members.map((member) => make('li', [member.away ? say('away') : member.client, member.name].filter(Boolean).join(' '), ' ', endButton(member.id)))),
    endButton(it.id),
  )), 6);
  for (const kind of ['allocations', 'rooms']) $(`${kind}-more`).textContent = more[kind] ? say('more', { count: ROWS }) : '';
}

function lock(isLocked) {
  $('login').hidden = !isLocked;
  $('page').hidden = isLocked;
}

async function refresh() {
  try {
    const [status, metrics, allocations, rooms] = await Promise.all([
      ask('readyz').then((answer) => answer.json()),
      ask('metrics').then((answer) => answer.text()),
      ask(`sessions?only=allocations&limit=${ROWS}`).then((answer) => answer.json()),
      ask(`sessions?only=rooms&limit=${ROWS}`).then((answer) => answer.json()),
    ]);
    const samples = parse(metrics);
    rounds.push({ at: performance.now(), samples, up: 0, down: 0 });
    if (rounds.length > POINTS) rounds.shift();
    lock(false);
    showStatus(status);
    showNumbers(samples);
    showCurve();
    showErrors(samples);
    showSessions(allocations, rooms, { allocations: allocations.next, rooms: rooms.next });
  } catch (error) {
    if (error instanceof Locked) {
      if (token) $('wrong').textContent = say('wrong');
      token = null;
      sessionStorage.removeItem('token');
      showState('', '');
      lock(true);
    } else {
      showState('bad', say('unreachable'));
    }
  }
}

let timer = 0;
/** One round after the other, none while nobody looks or a token is missing. */
async function run() {
  clearTimeout(timer);
  if (document.hidden) return;
  await refresh();
  clearTimeout(timer);
  if ($('login').hidden) timer = setTimeout(run, INTERVAL_MS);
}

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  token = $('token').value.trim();
  sessionStorage.setItem('token', token);
  $('token').value = '';
  $('wrong').textContent = '';
  run();
});
$('language').addEventListener('click', () => {
  lang = lang === 'en' ? 'zh' : 'en';
  sessionStorage.setItem('language', lang);
  translate();
  run();
});
document.addEventListener('visibilitychange', run);
document.addEventListener('click', async ({ target }) => {
  const name = target.dataset?.end;
  if (!name || !confirm(say('endSure', { id: name }))) return;
  target.disabled = true;
  try {
    const answer = await ask(`sessions/${encodeURIComponent(name)}`, 'DELETE');
    // Who has gone meanwhile needs no ending.
    if (!answer.ok && answer.status !== 404) throw new Error(await answer.text());
  } catch (error) {
    alert(say('failed', { why: error.message }));
  }
  run();
});
translate();
run();

// The page's sentences and its pure parts, without a browser.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

const WEB = new URL('../../web/', import.meta.url);
const read = (name) => fs.readFileSync(new URL(name, WEB), 'utf8');
// The pages have no package.json to say that they are modules; none of these imports anything.
const load = (name) => import(`data:text/javascript;base64,${Buffer.from(read(name)).toString('base64')}`);

export function texts() {
  test('both languages have the same sentences with the same parts', async () => {
    const { tables } = await load('js/i18n.js');
    assert.deepEqual(Object.keys(tables.zh).sort(), Object.keys(tables.en).sort());
    const parts = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();
    for (const [key, text] of Object.entries(tables.en)) assert.deepEqual(parts(tables.zh[key]), parts(text), key);
  });

  test('every sentence that the page asks for exists, and none is there for nothing', async () => {
    const { tables } = await load('js/i18n.js');
    const sources = ['index.html', 'app.js', 'js/chat.js', 'js/ui.js'].map(read).join('\n');
    const literal = [...sources.matchAll(/data-t(?:-label)?="([\w.-]+)"|'((?:home|lobby|device|problem|state|failed|tried|action|chat|peer|self|path|details|share|noscript|app)\.[\w.-]+)'/g)].map((m) => m[1] ?? m[2]);
    for (const key of literal) assert.ok(key in tables.en, key);
    // Those that are put together from parts.
    const built = /^(problem\.(audio|video|both)\.|tried\.(ok|silent|unreachable|refused)$|(details\.)?path\.(direct|relay|remote-relay)$|device\.)/;
    for (const key of Object.keys(tables.en)) assert.ok(literal.includes(key) || built.test(key), `unused: ${key}`);
  });

  test('a browser gets the first language it prefers that there is', async () => {
    const { choose } = await load('js/i18n.js');
    assert.equal(choose(['zh-TW', 'en']), 'zh');
    assert.equal(choose(['fr-FR', 'zh']), 'zh');
    assert.equal(choose(['en-GB', 'zh']), 'en');
    assert.equal(choose(['fr']), 'en');
    assert.equal(choose([]), 'en');
  });

  test('room names survive typing, pasting and the address bar', async () => {
    const { tidyName, roomOf, roomPath } = await load('js/room.js');
    assert.equal(tidyName('  my room '), 'my-room');
    assert.equal(tidyName('https://h/r/calm-otter?x=1'), 'calm-otter');
    assert.equal(tidyName('..'), '');
    assert.equal(tidyName('a/b?c#d'), 'abcd');
    assert.equal([...tidyName('房'.repeat(80))].length, 40);
    for (const name of ['calm-otter', '会议室-1', 'a&b=c', "it's"]) assert.equal(roomOf(roomPath(name)), name);
    assert.equal(roomOf('/'), null);
    assert.equal(roomOf('/r/'), null);
    assert.equal(roomOf('/r/%E0%A4%A'), 'E0A4A');
  });

  test('the query narrows the relays to one transport', async () => {
    const { configuration } = await load('js/ice.js');
    const answer = {
      iceServers: [
        { urls: ['stun:h:3478'] },
        { urls: ['turn:h:3478?transport=udp', 'turn:h:3478?transport=tcp', 'turns:h:443?transport=tcp'], username: 'u', credential: 'c' },
      ],
      iceTransportPolicy: 'all',
    };
    const urls = (query) => configuration(answer, new URLSearchParams(query)).iceServers.flatMap((server) => server.urls);
    assert.equal(urls('').length, 4);
    assert.deepEqual(urls('transport=udp'), ['stun:h:3478', 'turn:h:3478?transport=udp']);
    assert.deepEqual(urls('transport=tcp'), ['stun:h:3478', 'turn:h:3478?transport=tcp']);
    assert.deepEqual(urls('transport=tls'), ['stun:h:3478', 'turns:h:443?transport=tcp']);
    assert.equal(configuration(answer, new URLSearchParams('policy=relay')).iceTransportPolicy, 'relay');
    assert.equal(configuration(answer).iceServers[1].credential, 'c');
    assert.deepEqual(configuration({}).iceServers, []);
  });

  test('the path is read from any browser’s statistics', async () => {
    const { pathOf, outcomeOf } = await load('js/path.js');
    const report = (local, remote, pair = {}) => new Map([
      ['P', { id: 'P', type: 'candidate-pair', state: 'succeeded', nominated: true, localCandidateId: 'L', remoteCandidateId: 'R', currentRoundTripTime: 0.0234, ...pair }],
      ['L', { id: 'L', type: 'local-candidate', protocol: 'udp', ...local }],
      ['R', { id: 'R', type: 'remote-candidate', ...remote }],
    ]);
    assert.equal(pathOf(new Map()), null);
    const direct = pathOf(report({ candidateType: 'host' }, { candidateType: 'prflx' }));
    assert.deepEqual([direct.kind, direct.rtt], ['direct', 23]);
    const relayed = pathOf(report({ candidateType: 'relay', relayProtocol: 'tls' }, { candidateType: 'host' }));
    assert.deepEqual([relayed.kind, relayed.relay], ['relay', 'tls']);
    assert.equal(pathOf(report({ candidateType: 'srflx' }, { candidateType: 'relay' })).kind, 'remote-relay');
    for (const [local, remote, path, transport] of [
      [{ candidateType: 'host' }, { candidateType: 'prflx' }, 'host', 'udp'],
      [{ candidateType: 'host', protocol: 'tcp' }, { candidateType: 'host' }, 'host', 'tcp'],
      [{ candidateType: 'prflx' }, { candidateType: 'host' }, 'srflx', 'udp'],
      [{ candidateType: 'host' }, { candidateType: 'srflx' }, 'srflx', 'udp'],
      [{ candidateType: 'host' }, { candidateType: 'relay' }, 'relay', 'udp'],
      [{ candidateType: 'relay', relayProtocol: 'tls' }, { candidateType: 'relay' }, 'relay', 'tls'],
    ]) assert.deepEqual(outcomeOf(report(local, remote)), { path, transport });
    assert.equal(outcomeOf(new Map()), null);
    const two = report({ candidateType: 'host' }, { candidateType: 'host' });
    two.set('Q', { id: 'Q', type: 'candidate-pair', localCandidateId: 'M', remoteCandidateId: 'R' });
    two.set('M', { id: 'M', type: 'local-candidate', candidateType: 'relay', relayProtocol: 'udp' });
    two.set('T', { id: 'T', type: 'transport', selectedCandidatePairId: 'Q' });
    assert.equal(pathOf(two).relay, 'udp', 'the transport names the pair in use');
  });
}

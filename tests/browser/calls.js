// Calls over each path that the appliance offers, proved by the browsers' own statistics.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Person, hasNetwork, until } from './support.js';

/** Two people in one room, both in the call. */
export async function pair(stage, room, query = '', options = {}) {
  const where = `/r/${encodeURIComponent(room)}${query}`;
  const first = await Person.enter(stage.left, stage.appliance, where, options.first);
  await first.join();
  await first.reaches('waiting');
  const second = await Person.enter(stage.right, stage.appliance, where, options.second);
  await second.join();
  await first.reaches('connected');
  await second.reaches('connected');
  return [first, second];
}

const RELAYED = [
  ['UDP', 'udp', (appliance) => new RegExp(`^turn:.*:(?!${appliance.port})\\d+\\?transport=udp$`)],
  ['TCP', 'tcp', () => /^turn:.*\?transport=tcp$/],
  // TLS is proved to come in by the front door: the port is that of the page.
  ['TLS', 'tls', (appliance) => new RegExp(`^turns:.*:${appliance.port}(\\?|$)`)],
];

export function calls(stage) {
  test('a call in which everything is allowed shows each side the other', async () => {
    const [first, second] = await pair(stage, 'open-call');
    for (const person of [first, second]) {
      await person.decodes(30);
      const { path } = await person.stats();
      if (hasNetwork()) assert.equal(path.kind, 'direct', JSON.stringify(path));
      await person.sees('#path');
      assert.ok(await person.visible('#self-video'));
    }
    if (hasNetwork()) assert.match(await first.text('#path'), /^Direct/);
    await first.goHome();
    await second.goHome();
  });

  for (const [name, transport, server] of RELAYED) {
    test(`a call relayed over ${name} shows each side the other`, async () => {
      const [first, second] = await pair(stage, `relay-${transport}`, `?policy=relay&transport=${transport}`);
      for (const person of [first, second]) {
        await person.decodes(30);
        const { path } = await person.stats();
        assert.deepEqual(
          { kind: path.kind, relay: path.relay, local: path.local, remote: path.remote },
          { kind: 'relay', relay: transport, local: 'relay', remote: 'relay' },
          JSON.stringify(path),
        );
        assert.match(path.server, server(stage.appliance));
        // Kinds for the operator's statistics, and nothing else.
        const report = JSON.stringify({ cmd: 'report', path: 'relay', transport });
        await until('the server is told', async () => {
          const reports = await person.page.evaluate(() => window.reports);
          return (reports.length === 1 && reports[0] === report) || reports;
        });
        await until('the page names the path', async () => (await person.text('#path-text')) === `Relayed over ${name}`);
      }
      await first.goHome();
      await second.goHome();
    });
  }

  test('a relay on one side only is enough, and the other side is told', async () => {
    const first = await Person.enter(stage.left, stage.appliance, '/r/one-relay?policy=relay');
    await first.join();
    await first.reaches('waiting');
    const second = await Person.enter(stage.right, stage.appliance, '/r/one-relay');
    await second.join();
    await first.decodes(30);
    await second.decodes(30);
    assert.equal((await first.stats()).path.kind, 'relay');
    assert.notEqual((await second.stats()).path, null);
    await first.goHome();
    await second.goHome();
  });

  test('when both sides restart ICE at once the call goes on', async () => {
    const people = await pair(stage, 'glare', '?policy=relay');
    const users = () => Promise.all(people.map((one) => one.page.evaluate(() => window.callbox.pc.localDescription.sdp.match(/ice-ufrag:(\S+)/)[1])));
    const before = await users();
    await Promise.all(people.map((one) => one.page.evaluate(() => window.callbox.pc.restartIce())));
    await until('both have new ICE credentials', async () => {
      const now = await users();
      return now.every((user, index) => user !== before[index]);
    });
    for (const one of people) {
      await until('negotiation is over', () => one.page.evaluate(() => window.callbox.pc.signalingState === 'stable'));
      await one.decodes(30);
      assert.equal((await one.state()).phase, 'connected');
    }
    for (const one of people) await one.goHome();
  });

  test('a wrong relay password is named as the reason', async () => {
    const spoil = (page) => page.addInitScript(() => {
      window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(configuration) {
          for (const server of configuration.iceServers) if (server.credential) server.credential = 'wrong';
          super(configuration);
        }
      };
    });
    const where = '/r/bad-password?policy=relay&transport=udp';
    const first = await Person.enter(stage.left, stage.appliance, where, { setUp: spoil });
    await first.join();
    const second = await Person.enter(stage.right, stage.appliance, where);
    await second.join();
    await first.reaches('failed', (state) => state.reason === 'path', 40000);
    const { relays } = await first.page.evaluate(() => window.callbox.evidence);
    assert.deepEqual(relays.map(({ transport, result }) => ({ transport, result })), [{ transport: 'udp', result: 'refused' }]);
    assert.equal(await first.text('#card-title'), 'No way through the network was found');
    assert.match(await first.text('#card-list'), /Relay over UDP .*refused \(401/);
    assert.ok(await first.visible('#card-retry'));
    await first.goHome();
    await second.goHome();
  });
}

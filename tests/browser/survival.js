// What a call survives: lost connections to the server, the server itself, silence; and rooms of more than two.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pair } from './calls.js';
import { Person, hasNetwork, until } from './support.js';

/** Notes every phase that a page goes through from now on, and whether it ever heard that the other side is away. */
export async function watch(person) {
  await person.page.evaluate(() => {
    window.seen = { phases: new Set(), offline: false, pc: window.callbox.pc };
    setInterval(() => {
      window.seen.phases.add(window.callbox.state.phase);
      window.seen.offline ||= window.callbox.state.peerOffline;
    }, 20);
  });
}

/** Media was never interrupted, and runs over the connection of the beginning. */
export async function untouched(people) {
  for (const person of people) {
    await person.decodes(15);
    const seen = await person.page.evaluate(() => ({
      phases: [...window.seen.phases],
      same: window.seen.pc === window.callbox.pc,
    }));
    assert.deepEqual(seen, { phases: ['connected'], same: true });
  }
}

/** Signaling works in both directions: each learns that the other one is muted, and that it is not. */
export async function canTell([first, second]) {
  for (const [one, other] of [[first, second], [second, first]]) {
    await one.page.click('.toolbar [data-do=audio]');
    await other.sees('#peer-muted');
    await one.page.click('.toolbar [data-do=audio]');
    await until('the other side is heard again', async () => !(await other.visible('#peer-muted')));
  }
}

const open = (person) => person.page.evaluate(() => window.sockets.filter((one) => one.readyState === WebSocket.OPEN).length);
const opened = (person) => person.page.evaluate(() => window.sockets.length);

export function survival(stage) {
  test('a cut signaling connection comes back without touching the call', async () => {
    const people = await pair(stage, 'cut');
    for (const one of people) await watch(one);
    for (const one of people) {
      const before = await opened(one);
      await one.page.evaluate(() => window.sockets.at(-1).close());
      await until('another connection', async () => (await opened(one)) > before && (await open(one)) === 1);
    }
    await canTell(people);
    await untouched(people);
    for (const one of people) await one.goHome();
  });

  test('a call survives that the server closes one connection, and the other side is told of it in its language', async (t) => {
    const chinese = { locale: 'zh-CN' };
    const people = await pair(stage, 'closed-by-server', '', { second: chinese });
    const [first, second] = people;
    for (const one of people) await watch(one);
    const before = await opened(first);
    await first.page.evaluate(() => {
      for (let count = 0; count < 20; count += 1) window.sockets.at(-1).send('{');
    });
    const start = performance.now();
    await until('the server has closed it', () => first.page.evaluate(() => window.closeCodes.includes(4400)));
    await until('the banner is shown', async () => (await second.text('#banner')) === '对方正在重连……');
    await until('another connection', async () => (await opened(first)) > before && (await open(first)) === 1);
    await until('the banner is gone', async () => !(await second.visible('#banner')));
    t.diagnostic(`closed by the server: back after ${Math.round(performance.now() - start)} ms`);
    await canTell(people);
    await untouched(people);
    assert.ok(await second.page.evaluate(() => window.seen.offline));
    for (const one of people) await one.goHome();
  });

  test('a call with direct media survives a restart of the server', { skip: !hasNetwork() && 'no network' }, async (t) => {
    const people = await pair({ ...stage, appliance: stage.served }, 'restarted');
    for (const one of people) {
      assert.equal((await one.stats()).path.kind, 'direct');
      await watch(one);
    }
    const before = await Promise.all(people.map(opened));
    const start = performance.now();
    await stage.served.restart();
    const ready = performance.now();
    for (const [index, one] of people.entries()) {
      await until('another connection', async () => (await opened(one)) > before[index] && (await open(one)) === 1);
    }
    for (const one of people) await until('the other side is there', async () => !(await one.state()).peerOffline);
    const now = performance.now();
    t.diagnostic(`the server restarted in ${Math.round(ready - start)} ms: both back ${Math.round(now - ready)} ms later`);
    await canTell(people);
    await untouched(people);
    // The page asks for nothing else meanwhile, but a slow browser may still want its icon.
    const down = [/WebSocket connection to .* failed/, /Failed to load resource: net::ERR_CONNECTION_REFUSED/];
    for (const one of people) await one.goHome(down);
  });

  test('silence far beyond the idle time-out ends nothing', async () => {
    const people = await pair({ ...stage, appliance: stage.served }, 'silent');
    for (const one of people) await watch(one);
    // Longer than a client that does not answer pings would be borne.
    await new Promise((done) => setTimeout(done, 10000));
    for (const one of people) assert.ok(!(await one.page.evaluate(() => window.closeCodes.includes(4408))));
    await untouched(people);
    for (const one of people) await one.goHome();
  });

  const minutes = Number(process.env.CALLBOX_IDLE_MINUTES ?? 0);
  test('minutes in which nobody does anything end nothing, with the settings that everybody has', { skip: !minutes && 'CALLBOX_IDLE_MINUTES is not set' }, async (t) => {
    const people = await pair(stage, 'idle');
    for (const one of people) await watch(one);
    await new Promise((done) => setTimeout(done, minutes * 60000));
    for (const one of people) assert.deepEqual(await one.page.evaluate(() => window.closeCodes), []);
    const asked = performance.now();
    await canTell(people);
    t.diagnostic(`after ${minutes} idle minutes: signaling both ways within ${Math.round(performance.now() - asked)} ms`);
    await untouched(people);
    for (const one of people) await one.goHome();
  });

  test('where the room has three seats, three see each other, and who leaves is missed by both', async () => {
    const people = await pair({ ...stage, appliance: stage.served }, 'three');
    const third = await Person.enter(stage.left, stage.served, '/r/three');
    await third.join();
    people.push(third);
    for (const one of people) {
      await one.reaches('connected');
      await until('both others are in the picture', async () => (await one.page.evaluate(() => window.callbox.others.length)) === 1);
      await one.decodes(10);
      await until('the second picture moves', () => one.page.evaluate(() => {
        const video = document.querySelector('#stage .peer[data-uid] video');
        return video?.videoWidth > 0 && video.currentTime > 0.3;
      }));
    }
    await third.page.click('[data-do=leave]');
    for (const one of people.slice(0, 2)) {
      await until('one picture is left', async () => (await one.page.locator('#stage .peer').count()) === 1);
      assert.equal((await one.state()).phase, 'connected');
    }
    for (const one of people) await one.goHome();
  });
}

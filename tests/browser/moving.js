// A call whose one side changes its network: a browser in a network namespace of its own, which loses one
// interface and gets another, with another address, in the middle of the call.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pair } from './calls.js';
import { Appliance, freePort, launch, trustingHome, until } from './support.js';

const ip = (...words) => execFileSync('ip', words, { stdio: 'pipe' });

/** A namespace with two ways to this machine, of which one is up. */
class Network {
  #names = [];
  #host;
  #up = 0;
  /** This machine's addresses: the one by which the namespace reaches it at first is the first. */
  servers = [];

  constructor() {
    const number = process.pid % 200;
    this.namespace = `callbox-move-${process.pid}`;
    ip('netns', 'add', this.namespace);
    try {
      ip('-n', this.namespace, 'link', 'set', 'lo', 'up');
      for (const index of [0, 1]) {
        const [here, there] = [`cbm${process.pid}${'ab'[index]}`.slice(-14), `way${index}`];
        const net = `10.${211 + index}.${number}`;
        ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', this.namespace);
        this.#names.push(here);
        ip('address', 'add', `${net}.1/24`, 'dev', here);
        ip('link', 'set', here, 'up');
        this.servers.push(`${net}.1`);
      }
      this.#connect(0);
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** From now on the namespace has its other address only, on its other interface. */
  move() {
    const { namespace } = this;
    ip('-n', namespace, 'address', 'flush', 'dev', `way${this.#up}`);
    ip('-n', namespace, 'link', 'set', `way${this.#up}`, 'down');
    this.#connect(1 - this.#up);
  }

  get address() {
    return this.#host;
  }

  remove() {
    for (const name of this.#names) {
      try {
        ip('link', 'delete', name);
      } catch {
        // It went with the namespace.
      }
    }
    ip('netns', 'delete', this.namespace);
  }

  #connect(index) {
    const there = `way${index}`;
    this.#up = index;
    this.#host = this.servers[index].replace(/\.1$/, '.2');
    ip('-n', this.namespace, 'link', 'set', there, 'up');
    ip('-n', this.namespace, 'address', 'add', `${this.#host}/24`, 'dev', there);
    ip('-n', this.namespace, 'route', 'add', 'default', 'via', this.servers[index], 'dev', there);
  }
}

/** A program that starts Chromium inside. */
function inside(root, network) {
  const program = path.join(root, 'chromium-inside');
  const chromium = process.env.CHROMIUM ?? '/usr/bin/chromium';
  fs.writeFileSync(program, `#!/bin/sh\nexec ip netns exec ${network.namespace} ${chromium} "$@"\n`, { mode: 0o755 });
  return program;
}

function possible() {
  try {
    const name = `callbox-probe-${process.pid}`;
    ip('netns', 'add', name);
    ip('netns', 'delete', name);
    return true;
  } catch {
    return false;
  }
}

const WAYS = [
  ['media goes directly', '', 'direct'],
  ['media is relayed', '?policy=relay&transport=udp', 'relay'],
];

export function moving(root) {
  test('a call goes on when the address of one side changes', { skip: !possible() && 'no network namespaces' }, async (t) => {
    const own = path.join(root, 'moving');
    fs.mkdirSync(own);
    const network = new Network();
    const stage = {};
    try {
      const [https, turn] = [await freePort(), await freePort()];
      const networks = network.servers.map((server) => `"${server}/32", "${server.replace(/1$/, '2')}/32"`).join(', ');
      stage.appliance = await Appliance.configured(own, `state_dir = "${path.join(own, 'state')}"
external_ip = "${network.servers[0]}"
[front]
https = ["[::]:${https}"]
http = []
[turn]
listen = ["[::]:${turn}"]
allow_peers = [${networks}]
[signaling]
resume_window = "2m"
[admin]
listen = []
`, https);
      stage.appliance.origin = `https://${network.servers[0]}:${https}`;
      const certificate = await stage.appliance.certificate();
      const home = trustingHome(own, certificate);
      stage.left = await launch(home);
      stage.right = await launch(home, { program: inside(own, network) });
      for (const [what, query, kind] of WAYS) {
        await t.test(`and ${what}`, async (way) => {
          const people = await pair(stage, `moving-${kind}`, query);
          const [, moved] = people;
          for (const one of people) await one.decodes(10);
          assert.equal((await moved.stats()).path.kind, kind);
          const pc = await moved.page.evaluateHandle(() => window.callbox.pc);
          const from = network.address;
          const user = () => moved.page.evaluate(() => window.callbox.pc.localDescription.sdp.match(/ice-ufrag:(\S+)/)[1]);
          const local = () => moved.page.evaluate(async () => {
            const report = await window.callbox.pc.getStats();
            const transport = [...report.values()].find((one) => one.type === 'transport');
            return report.get(report.get(transport?.selectedCandidatePairId)?.localCandidateId)?.address;
          });
          const was = await user();
          network.move();
          const start = performance.now();
          await until('ICE is restarted', async () => (await user()) !== was, 90000);
          // A relayed candidate does not tell from where the relay is asked.
          if (kind === 'direct') {
            await until('media goes over the new address', async () => {
              const now = await local();
              return now === network.address || now;
            }, 90000);
          }
          for (const one of people) await one.reaches('connected', () => true, 90000);
          const before = await Promise.all(people.map((one) => one.frames()));
          await until('both see the other side move again', async () => {
            const now = await Promise.all(people.map((one) => one.frames()));
            return now.every((count, index) => count > before[index]) || now;
          }, 60000);
          way.diagnostic(`${from} became ${network.address}, ${what}: media both ways again after ${Math.round(performance.now() - start)} ms`);
          await until('the server is there again', async () => !(await people[0].state()).peerOffline, 90000);
          way.diagnostic(`and signaling after ${Math.round(performance.now() - start)} ms`);
          assert.ok(await moved.page.evaluate((before) => before === window.callbox.pc, pc), 'the same connection, restarted');
          for (const one of people) await one.decodes(15);
          for (const one of people) await one.goHome([/WebSocket connection to/, /net::ERR_/]);
        });
      }
    } finally {
      await stage.left?.close();
      await stage.right?.close();
      await stage.appliance?.stop();
      network.remove();
    }
  });
}

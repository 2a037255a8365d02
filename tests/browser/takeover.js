// Settings that change, and a process that takes the place of another, in the middle of a call.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { pair } from './calls.js';
import { canTell, untouched, watch } from './survival.js';
import { freePort, until } from './support.js';

/** Several processes, one after the other, on the sockets of one service manager. */
class Managed {
  static async start(root, other) {
    const managed = new Managed();
    const at = fs.mkdtempSync(path.join(root, 'managed-'));
    const state = path.join(at, 'state');
    fs.mkdirSync(state, { mode: 0o700 });
    other.copyCertificate(state);
    managed.port = await freePort();
    managed.origin = `https://localhost:${managed.port}`;
    managed.config = path.join(at, 'appliance.toml');
    managed.log = path.join(at, 'log');
    managed.state = state;
    managed.configure('');
    const manager = path.join(import.meta.dirname, 'manager.py');
    managed.manager = spawn('python3', [manager, managed.port, process.env.CALLBOX_BIN, managed.config, managed.log], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    managed.pids = createInterface({ input: managed.manager.stdout })[Symbol.asyncIterator]();
    return managed;
  }

  configure(signaling) {
    fs.writeFileSync(this.config, `state_dir = "${this.state}"
[front]
https = ["[::]:${this.port}"]
http = []
[turn]
listen = ["[::]:${this.port}"]
[signaling]
${signaling}
[admin]
listen = []
`);
  }

  said(text) {
    return fs.readFileSync(this.log, 'utf8').split(text).length - 1;
  }

  /** Starts a process and waits until it serves. */
  async next() {
    const before = fs.existsSync(this.log) ? this.said(' ready ') : 0;
    this.manager.stdin.write('start\n');
    const pid = Number((await this.pids.next()).value);
    await until('another process serves', () => (fs.existsSync(this.log) && this.said(' ready ') > before) || this.log);
    return pid;
  }

  stop(...pids) {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        assert.equal(error.code, 'ESRCH');
      }
    }
    this.manager.kill();
  }
}

/** Whether it runs, and has not only not been waited for. */
const runs = (pid) => {
  try {
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

export function takeover(stage, root) {
  test('calls relayed over UDP and TLS do not notice new settings, nor that another process takes over', async () => {
    const managed = await Managed.start(root, stage.appliance);
    const pids = [];
    try {
      pids.push(await managed.next());
      const there = { ...stage, appliance: managed };
      const calls = [];
      for (const transport of ['udp', 'tls']) calls.push(await pair(there, `kept-${transport}`, `?policy=relay&transport=${transport}`));
      const people = calls.flat();
      for (const one of people) await watch(one);

      for (const interval of ['3s', '4s']) {
        managed.configure(`ping_interval = "${interval}"\nroom_capacity = 3`);
        process.kill(pids[0], 'SIGHUP');
        await until('the settings are taken', () => managed.said(`-> "${interval}"`) > 0 || fs.readFileSync(managed.log, 'utf8'));
      }
      await untouched(people);

      const began = Date.now();
      pids.push(await managed.next());
      await until('the first process has handed over', () => managed.said('another process serves the newcomers') > 0);
      for (const call of calls) await canTell(call);
      console.log(`# signaling through the new process after ${Date.now() - began} ms, its start included`);
      await untouched(people);
      assert.ok(runs(pids[0]), 'the first process carries the calls');
      for (const one of people) await one.goHome();
      // Whether the first one ends now depends on how tidily the browsers give their relays back.
      assert.ok(runs(pids[1]));
      const [first, second] = await pair(there, 'afterwards', '?policy=relay&transport=udp');
      await first.decodes(10);
      for (const one of [first, second]) await one.goHome();
    } catch (error) {
      error.message += `\n${fs.readFileSync(managed.log, 'utf8')}`;
      throw error;
    } finally {
      managed.stop(...pids);
    }
  });
}

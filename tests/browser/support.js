// What the browser tests stand on: a running `callbox try`, browsers that trust its certificate, and
// pages that note everything they should not have done.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream',
];

/** Waits until `probe` gives something true; sentences, not time-outs, say what was missing. */
export async function until(what, probe, ms = 30000) {
  const deadline = Date.now() + ms;
  let last;
  for (;;) {
    last = await probe();
    if (last === true) return;
    if (Date.now() > deadline) assert.fail(`not within ${ms / 1000} s: ${what}; last seen: ${JSON.stringify(last)}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** A port that nobody has. */
export async function freePort() {
  const server = net.createServer();
  await new Promise((done) => server.listen(0, done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** The appliance under test with a state directory of its own. */
export class Appliance {
  #child;
  #output = '';
  #root;
  #args;

  /** `callbox try` on any port. */
  static start(root) {
    const appliance = new Appliance();
    appliance.#root = root;
    return appliance.#run(['try', '--port', '0']);
  }

  /** `callbox serve` with these settings for signaling, and the certificate of the other one. */
  static async serve(root, other, signaling) {
    const appliance = new Appliance();
    appliance.#root = root;
    fs.mkdirSync(path.join(root, 'served'), { recursive: true, mode: 0o700 });
    other.copyCertificate(path.join(root, 'served'));
    const [https, turn, admin] = [await freePort(), await freePort(), await freePort()];
    appliance.admin = `http://127.0.0.1:${admin}`;
    appliance.token = 'open sesame';
    fs.writeFileSync(path.join(root, 'token'), appliance.token);
    const config = path.join(root, 'appliance.toml');
    fs.writeFileSync(config, `state_dir = "${path.join(root, 'served')}"
[front]
https = ["[::]:${https}"]
http = []
[turn]
listen = ["[::]:${turn}"]
[admin]
listen = "127.0.0.1:${admin}"
token_file = "${path.join(root, 'token')}"
[signaling]
${signaling}
`);
    appliance.port = https;
    return appliance.#run(['serve', '--config', config]);
  }

  /** Gives another one, of the kind that `start` makes, the same certificate. */
  copyCertificate(state) {
    for (const name of ['self-signed.crt', 'self-signed.key']) {
      fs.copyFileSync(path.join(this.#root, 'state/callbox-try', name), path.join(state, name));
      fs.chmodSync(path.join(state, name), 0o600);
    }
  }

  /** `callbox serve` with a file of one's own, whose HTTPS port is this. */
  static configured(root, text, port) {
    const appliance = new Appliance();
    appliance.#root = root;
    appliance.port = port;
    const config = path.join(root, 'appliance.toml');
    fs.writeFileSync(config, text);
    return appliance.#run(['serve', '--config', config]);
  }

  async #run(args) {
    this.#args = args;
    this.#output = '';
    const env = { PATH: process.env.PATH, HOME: this.#root, XDG_STATE_HOME: path.join(this.#root, 'state') };
    const child = spawn(process.env.CALLBOX_BIN, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    child.stdout.on('data', (text) => (this.#output += text));
    child.stderr.on('data', (text) => (this.#output += text));
    this.ended = new Promise((done) => child.on('close', (code, signal) => done({ code, signal })));
    await until('callbox is ready', () => {
      if (child.exitCode !== null) throw new Error(`callbox ended early:\n${this.#output}`);
      if (args[0] === 'serve') return / ready /.test(this.#output) || this.#output;
      this.port = Number(this.#output.match(/https:\/\/localhost:(\d+)\//)?.[1]);
      return this.port > 0 || this.#output;
    });
    this.origin = `https://localhost:${this.port}`;
    return this;
  }

  /** Ends it in good order and starts it anew, with the same settings and state. */
  async restart() {
    await this.stop();
    await this.#run(this.#args);
  }

  get output() {
    return this.#output;
  }

  /** The certificate it shows, DER. */
  certificate() {
    return new Promise((done, fail) => {
      const socket = tls.connect({ port: this.port, servername: 'localhost', rejectUnauthorized: false }, () => {
        done(socket.getPeerCertificate().raw);
        socket.destroy();
      });
      socket.on('error', fail);
    });
  }

  stop() {
    if (this.#child.exitCode === null) this.#child.kill('SIGINT');
    return this.ended;
  }
}

/** A home directory whose NSS database trusts a server, and perhaps an authority, so that no check has to be off. */
export function trustingHome(root, certificate, authority) {
  const home = path.join(root, 'home');
  const database = path.join(home, '.pki', 'nssdb');
  fs.mkdirSync(database, { recursive: true });
  execFileSync('certutil', ['-N', '-d', `sql:${database}`, '--empty-password']);
  for (const [name, trust, bytes] of [['callbox', 'P,,', certificate], ['authority', 'C,,', authority]]) {
    if (!bytes) continue;
    const file = path.join(root, `${name}.der`);
    fs.writeFileSync(file, bytes);
    execFileSync('certutil', ['-A', '-d', `sql:${database}`, '-n', name, '-t', trust, '-i', file]);
  }
  return home;
}

/** A browser; `program` may be another that starts it. */
export function launch(home, { allowDevices = true, program } = {}) {
  return chromium.launch({
    executablePath: program ?? process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: [...FLAGS, allowDevices ? '--use-fake-ui-for-media-stream' : '--deny-permission-prompts'],
    env: { ...process.env, HOME: home },
  });
}

export function hasNetwork() {
  return Object.values(os.networkInterfaces()).flat().some((address) => !address.internal && address.family === 'IPv4');
}

/** One person: a fresh context with one page, and a list of everything it did wrong. */
export class Person {
  faults = [];

  static async enter(browser, appliance, where, options = {}) {
    const person = new Person();
    const { setUp, ...rest } = options;
    person.context = await browser.newContext({ locale: 'en-US', viewport: { width: 1280, height: 800 }, ...rest });
    const page = await person.context.newPage();
    person.page = page;
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) person.faults.push(`console ${message.type()}: ${message.text()}`);
    });
    page.on('pageerror', (error) => person.faults.push(`exception: ${error.message}`));
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== appliance.origin) person.faults.push(`foreign request: ${request.url()}`);
    });
    page.on('response', (response) => {
      if (response.status() >= 400) person.faults.push(`${response.status()} ${response.url()}`);
    });
    await page.addInitScript(() => {
      window.violations = [];
      addEventListener('securitypolicyviolation', (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
      // To cut a connection as a network does, a test needs to get hold of it.
      window.sockets = [];
      window.closeCodes = [];
      window.reports = [];
      const Original = WebSocket;
      window.WebSocket = class extends Original {
        constructor(...rest) {
          super(...rest);
          window.sockets.push(this);
          this.addEventListener('close', ({ code }) => window.closeCodes.push(code));
        }

        send(text) {
          if (text.startsWith('{"cmd":"report"')) window.reports.push(text);
          super.send(text);
        }
      };
    });
    await setUp?.(page);
    await page.goto(appliance.origin + where);
    return person;
  }

  async join() {
    await this.page.waitForFunction(() => !window.callbox.media || document.querySelector('#lobby-asking').hidden);
    await this.page.click('#join');
  }

  state() {
    return this.page.evaluate(() => window.callbox.state);
  }

  stats() {
    return this.page.evaluate(() => window.callbox.stats());
  }

  async frames() {
    return (await this.stats()).quality?.frames ?? 0;
  }

  /** Waits for a phase. */
  reaches(phase, more = () => true, ms = 30000) {
    return until(`phase ${phase}`, async () => {
      const state = await this.state();
      return (state.phase === phase && more(state)) || state;
    }, ms);
  }

  /** Waits until so many more frames of the other side were decoded. */
  async decodes(count) {
    const before = await this.frames();
    await until(`${count} more decoded frames`, async () => {
      const now = (await this.frames()) - before;
      return now >= count || now;
    }, 30000);
  }

  text(selector) {
    return this.page.locator(selector).innerText();
  }

  visible(selector) {
    return this.page.locator(selector).isVisible();
  }

  sees(selector, ms) {
    return until(`${selector} is visible`, () => this.visible(selector), ms);
  }

  /** Checks that nothing forbidden happened and goes home. */
  async goHome(allowed = []) {
    const violations = await this.page.evaluate(() => window.violations);
    const faults = [...this.faults, ...violations].filter((fault) => !allowed.some((pattern) => pattern.test(fault)));
    await this.context.close();
    assert.deepEqual(faults, []);
  }
}

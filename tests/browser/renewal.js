// A certificate that is renewed in the middle of a call: nobody in it may notice.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { test } from 'node:test';
import { pair } from './calls.js';
import { Appliance, freePort, until } from './support.js';

/** Seconds. Renewed after two thirds of it, which leaves the rest for the order itself. */
const VALIDITY = 40;

/** Starts a program that ends with `stop`. */
function run(command, args, options) {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  const program = { output: '' };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (program.output += text));
  const ended = new Promise((done) => child.on('close', done).on('error', (error) => {
    program.output += `${command} cannot be started: ${error.message}\n`;
    done();
  }));
  ended.then(() => (program.hasEnded = true));
  program.stop = () => {
    child.kill();
    return ended;
  };
  return program;
}

/** An ACME authority that knows one appliance, and resolves each name to this machine. */
export class Authority {
  #pebble;
  #names;

  static async start(root) {
    const authority = new Authority();
    const at = fs.mkdtempSync(path.join(root, 'authority-'));
    const ports = [];
    while (ports.length < 6) ports.push(await freePort());
    const [port, management, dns, mock, tlsPort, httpPort] = ports;
    Object.assign(authority, { at, port, management, tlsPort });
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost', '-addext', 'basicConstraints=critical,CA:FALSE',
      '-keyout', path.join(at, 'key.pem'), '-out', path.join(at, 'cert.pem'),
    ], { stdio: 'pipe' });
    const pebble = {
      listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}`,
      certificate: 'cert.pem', privateKey: 'key.pem', httpPort, tlsPort, certificateValidityPeriod: VALIDITY,
    };
    fs.writeFileSync(path.join(at, 'pebble.json'), JSON.stringify({ pebble }));
    authority.#names = run('pebble-challtestsrv', [
      '-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-http01', '', '-https01', '', '-tlsalpn01', '',
      '-dns01', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${mock}`,
    ]);
    authority.#pebble = run('pebble', ['-config', 'pebble.json', '-dnsserver', `127.0.0.1:${dns}`], {
      cwd: at,
      env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0', PEBBLE_WFE_NONCEREJECT: '0' },
    });
    await until('the authority listens', async () => {
      if (authority.#pebble.hasEnded) throw new Error(`pebble ended early:\n${authority.#pebble.output}`);
      return authority.root().then(() => true, (error) => error.message);
    });
    return authority;
  }

  /** The certificate of what it signs with, DER. */
  async root() {
    const ca = fs.readFileSync(path.join(this.at, 'cert.pem'));
    const pem = await new Promise((done, fail) => {
      https.get({ host: 'localhost', port: this.management, path: '/roots/0', ca, agent: false }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (more) => (text += more)).on('end', () => done(text));
      }).on('error', fail);
    });
    return new X509Certificate(pem).raw;
  }

  async stop() {
    await this.#pebble?.stop();
    await this.#names?.stop();
  }
}

/** An appliance that gets its certificates there. */
async function certified(authority, root) {
  const at = fs.mkdtempSync(path.join(root, 'certified-'));
  const appliance = await Appliance.configured(at, `host = ["localhost"]
state_dir = "state"
[front]
https = ["127.0.0.1:${authority.tlsPort}"]
http = []
[tls]
mode = "acme"
acme_directory = "https://localhost:${authority.port}/dir"
acme_ca_file = "${path.join(authority.at, 'cert.pem')}"
[turn]
listen = ["127.0.0.1:${await freePort()}"]
[admin]
listen = []
`, authority.tlsPort);
  await until('a certificate of the authority is shown', async () => {
    const { issuer } = new X509Certificate(await appliance.certificate());
    return issuer.includes('Pebble') || appliance.output;
  }, 90000);
  return appliance;
}

export function renewal(stage, root) {
  test('a call relayed over TLS goes on while the certificate is renewed', async () => {
    const appliance = await certified(stage.authority, root);
    try {
      const [first, second] = await pair({ ...stage, appliance }, 'renewal', '?policy=relay&transport=tls');
      const pictures = [first, second];
      for (const person of pictures) await person.decodes(30);
      const before = await appliance.certificate();
      const connections = await Promise.all(pictures.map((person) => person.page.evaluateHandle(() => window.callbox.pc)));
      for (const person of pictures) {
        await person.page.evaluate(() => {
          window.phases = new Set();
          setInterval(() => window.phases.add(window.callbox.state.phase), 20);
        });
      }
      const paths = await Promise.all(pictures.map(async (person) => (await person.stats()).path));
      await until('another certificate is shown', async () => !(await appliance.certificate()).equals(before), 90000);
      for (const [index, person] of pictures.entries()) {
        await person.decodes(30);
        assert.ok(await person.page.evaluate((old) => window.callbox.pc === old, connections[index]), 'the same peer connection');
        assert.deepEqual(await person.page.evaluate(() => [...window.phases]), ['connected']);
        // The one WebSocket idled all the while and is open.
        assert.deepEqual(await person.page.evaluate(() => window.sockets.map((socket) => socket.readyState)), [1]);
        const { path: now } = await person.stats();
        assert.equal(now.relay, 'tls', JSON.stringify(now));
        assert.equal(now.server, paths[index].server);
      }
      // Whoever comes now is shown the new one and trusts it.
      for (const person of pictures) await person.goHome();
      const again = await pair({ ...stage, appliance }, 'renewed', '?policy=relay&transport=tls');
      for (const person of again) await person.decodes(5);
      for (const person of again) await person.goHome();
    } finally {
      await appliance.stop();
    }
  });
}

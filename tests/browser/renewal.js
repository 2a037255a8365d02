// A certificate that is renewed in the middle of a call: nobody in it may notice.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { pair } from './calls.js';
import { Appliance, Program, until } from './support.js';

/** Seconds. Renewed after two thirds of it, which leaves the rest for the order itself. */
const VALIDITY = 40;

/** So many ports that nobody has. */
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((done, fail) => {
    const server = net.createServer().on('error', fail).listen(0, '127.0.0.1', () => done(server));
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}

/** An ACME authority that knows one appliance, and resolves each name to this machine. */
export class Authority {
  #pebble;
  #names;

  static async start(root) {
    const authority = new Authority();
    const at = fs.mkdtempSync(path.join(root, 'authority-'));
    const [port, management, dns, mock, tlsPort, httpPort] = await freePorts(6);
    Object.assign(authority, { at, port, management, tlsPort });
    execFileSync('openssl', [
      'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost', '-keyout', path.join(at, 'key.pem'), '-out', path.join(at, 'cert.pem'),
    ], { stdio: 'pipe' });
    const pebble = {
      listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}`,
      certificate: 'cert.pem', privateKey: 'key.pem', httpPort, tlsPort, certificateValidityPeriod: VALIDITY,
    };
    fs.writeFileSync(path.join(at, 'pebble.json'), JSON.stringify({ pebble }));
    authority.#names = new Program('pebble-challtestsrv', 'pebble-challtestsrv', {
      args: ['-defaultIPv4', '127.0.0.1', '-defaultIPv6', '', '-http01', '', '-https01', '', '-tlsalpn01', '',
        '-dns01', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${mock}`],
    });
    authority.#pebble = new Program('pebble', 'pebble', {
      args: ['-config', 'pebble.json', '-dnsserver', `127.0.0.1:${dns}`],
      cwd: at,
      env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0', PEBBLE_WFE_NONCEREJECT: '0' },
    });
    await authority.#pebble.until('it listens', () => authority.root().then(() => true, () => false));
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
  const [turn] = await freePorts(1);
  fs.writeFileSync(path.join(at, 'appliance.toml'), `
    host = ["localhost"]
    external_ip = "127.0.0.1"
    state_dir = "state"
    [front]
    https = ["127.0.0.1:${authority.tlsPort}"]
    http = []
    [tls]
    mode = "acme"
    acme_directory = "https://localhost:${authority.port}/dir"
    acme_ca_file = "${path.join(authority.at, 'cert.pem')}"
    [turn]
    listen = ["127.0.0.1:${turn}"]
    allow_peers = ["127.0.0.0/8"]
    [admin]
    listen = []
  `);
  const program = new Program('callbox', process.env.CALLBOX_BIN, {
    args: ['serve', '--config', 'appliance.toml'], cwd: at, env: { PATH: process.env.PATH, HOME: at },
  });
  const appliance = new Appliance(program, authority.tlsPort);
  const theirs = (bytes) => new X509Certificate(bytes).issuer.includes('Pebble');
  await program.until('it shows a certificate of the authority', () => appliance.certificate().then(theirs, () => false));
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

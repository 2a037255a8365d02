// Clients that others have written, as they come from npm: each pair exchanges data between two browsers,
// having found each other through callbox.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, test } from 'node:test';
import * as esbuild from 'esbuild';
import { until } from './support.js';

/** The libraries as one script that leaves them at `window`. */
async function bundle() {
  const built = await esbuild.build({
    stdin: {
      contents: `
        import { Peer } from 'peerjs';
        import SimplePeer from 'simple-peer/simplepeer.min.js';
        import { WebrtcProvider } from 'y-webrtc';
        import * as Y from 'yjs';
        Object.assign(window, { Peer, SimplePeer, WebrtcProvider, Y });`,
      resolveDir: import.meta.dirname,
    },
    bundle: true,
    format: 'iife',
    define: { 'process.env.NODE_ENV': '"production"' },
    write: false,
    logLevel: 'error',
  });
  return built.outputFiles[0].text;
}

/** The example of the documentation. */
function example() {
  const text = fs.readFileSync(new URL('../../docs/signaling.md', import.meta.url), 'utf8');
  const code = text.match(/```js\n(function meet[^]*?)```/);
  assert.ok(code, 'docs/signaling.md has the example');
  return code[1];
}

export function clients(stage) {
  let script;
  const contexts = [];

  /**
   * A page of the appliance's with the libraries, and `ice` as callbox gives it. Its policy would forbid the
   * libraries; a page that did not come from there would be kept away from local addresses.
   */
  async function visit(browser) {
    script ??= await bundle();
    const context = await browser.newContext({ bypassCSP: true });
    contexts.push(context);
    const page = await context.newPage();
    await page.goto(stage.appliance.origin);
    await page.addScriptTag({ content: script });
    await page.evaluate(async () => (window.ice = await (await fetch('/ice')).json()));
    return page;
  }

  const both = () => Promise.all([visit(stage.left), visit(stage.right)]);

  after(async () => {
    for (const context of contexts) await context.close();
  });

  for (const path of ['/', '/peerjs']) {
    test(`two PeerJS clients with the path ${path} exchange data`, async () => {
      const [first, second] = await both();
      const open = (page) => page.evaluate(([path, port]) => new Promise((done, fail) => {
        window.heard = [];
        window.peer = new Peer({ host: 'localhost', port, path, secure: true, config: ice });
        peer.on('connection', (other) => other.on('data', (data) => {
          heard.push(data);
          other.send({ echo: data });
        }));
        peer.on('error', fail);
        peer.on('open', done);
      }), [path, stage.appliance.port]);
      const called = await open(second);
      await open(first);
      const answer = await first.evaluate((called) => new Promise((done, fail) => {
        peer.on('error', fail);
        const other = peer.connect(called);
        other.on('open', () => other.send('hello'));
        other.on('data', done);
      }), called);
      assert.deepEqual(answer, { echo: 'hello' });
      assert.deepEqual(await second.evaluate(() => heard), ['hello']);
    });
  }

  test('a PeerJS client takes its id back, and is told who cannot be reached', async () => {
    const page = await visit(stage.left);
    const events = await page.evaluate(async (port) => {
      const peer = new Peer('somebody', { host: 'localhost', port, path: '/', secure: true, config: ice });
      const next = (name) => new Promise((done) => peer.once(name, (value) => done(value?.type ?? value)));
      const events = [await next('open')];
      peer.disconnect();
      peer.reconnect();
      events.push(await next('open'));
      const other = new Peer('somebody', { host: 'localhost', port, path: '/', secure: true, config: ice });
      events.push(await new Promise((done) => other.on('error', ({ type }) => done(type))));
      peer.connect('nobody');
      events.push(await next('error'));
      return events;
    }, stage.appliance.port);
    assert.deepEqual(events, ['somebody', 'somebody', 'unavailable-id', 'peer-unavailable']);
  });

  test('two y-webrtc clients share a document', async () => {
    const pages = await both();
    for (const page of pages) {
      await page.evaluate(() => {
        window.doc = new Y.Doc();
        const signaling = [`wss://${location.host}/y`];
        window.provider = new WebrtcProvider('shared', doc, { signaling, password: 'secret', peerOpts: { config: ice } });
      });
    }
    const [first, second] = pages;
    await first.evaluate(() => doc.getText('t').insert(0, 'from the first'));
    const text = (page) => page.evaluate(() => doc.getText('t').toString());
    await until('the second sees it', async () => (await text(second)) === 'from the first' || text(second));
    await second.evaluate(() => doc.getText('t').insert(0, 'and the second, '));
    const whole = 'and the second, from the first';
    await until('the first sees that', async () => (await text(first)) === whole || text(first));
  });

  test('two pages with simple-peer meet as the documentation says', async () => {
    const pages = await both();
    for (const page of pages) {
      await page.addScriptTag({ content: example() });
      await page.evaluate(() => {
        window.heard = [];
        meet('simple', (peer) => {
          peer.on('connect', () => peer.send(`hello from ${peer.initiator ? 'the caller' : 'the called'}`));
          peer.on('data', (data) => heard.push(new TextDecoder().decode(data)));
        });
      });
    }
    for (const page of pages) {
      await until('the page hears the other one', async () => (await page.evaluate(() => heard.length)) === 1);
    }
    const heard = await Promise.all(pages.map((page) => page.evaluate(() => heard[0])));
    assert.deepEqual(heard.sort(), ['hello from the called', 'hello from the caller']);
  });
}

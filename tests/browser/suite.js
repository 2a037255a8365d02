// One appliance and three browsers for all tests: starting them costs more than most tests take.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { apprtc } from './apprtc.js';
import { calls } from './calls.js';
import { clients } from './clients.js';
import { dashboard } from './dashboard.js';
import { talk } from './talk.js';
import { moving } from './moving.js';
import { people } from './people.js';
import { Authority, renewal } from './renewal.js';
import { survival } from './survival.js';
import { takeover } from './takeover.js';
import { texts } from './texts.js';
import { Appliance, Person, launch, trustingHome } from './support.js';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'callbox-browser-'));
const stage = {};

before(async () => {
  [stage.appliance, stage.authority] = await Promise.all([Appliance.start(root), Authority.start(root)]);
  const home = trustingHome(root, await stage.appliance.certificate(), await stage.authority.root());
  // A second one with three seats in a room, and little patience with silence.
  const served = path.join(root, 'serve');
  fs.mkdirSync(served);
  stage.served = await Appliance.serve(served, stage.appliance, 'room_capacity = 3\nping_interval = "1s"\nidle_timeout = "8s"');
  // Two processes for the two sides of a call, a third that denies camera and microphone.
  stage.left = await launch(home);
  stage.right = await launch(home);
  stage.denying = await launch(home, { allowDevices: false });
});

after(async () => {
  for (const browser of [stage.left, stage.right, stage.denying]) await browser?.close();
  await stage.appliance?.stop();
  await stage.served?.stop();
  await stage.authority?.stop();
  fs.rmSync(root, { recursive: true, force: true });
});

texts();
calls(stage);
apprtc(stage);
people(stage);
survival(stage);
clients(stage);
talk(stage);
moving(root);
renewal(stage, root);
dashboard(stage);
takeover(stage, root);

test('an interrupted appliance ends cleanly, and the page says that the server is gone', async () => {
  const person = await Person.enter(stage.left, stage.appliance, '/r/last-one');
  await person.join();
  await person.reaches('waiting');
  const { code, signal } = await stage.appliance.stop();
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, stage.appliance.output);
  await person.reaches('failed', (state) => state.reason === 'server');
  assert.equal(await person.text('#card-title'), 'The server does not answer');
  await person.goHome([/WebSocket connection to .* failed/]);
});

// What people do and see: coming, going, a third person, silence, no camera, a phone, another language.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pair } from './calls.js';
import { Person, until } from './support.js';

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

async function shot(person, name) {
  const folder = process.env.CALLBOX_SHOTS;
  if (!folder) return;
  fs.mkdirSync(folder, { recursive: true });
  await person.page.screenshot({ path: path.join(folder, `${name}.png`) });
}

/** Every visible control lies on the screen and is large enough for a finger. */
async function controlsAreReachable(person, selector) {
  const bad = await person.page.evaluate((which) => {
    const { innerWidth, innerHeight } = window;
    return [...document.querySelectorAll(which)]
      .map((element) => ({ name: element.ariaLabel ?? element.textContent, box: element.getBoundingClientRect() }))
      .filter(({ box }) => box.width && (box.width < 44 || box.height < 44 || box.left < 0 || box.top < 0 || box.right > innerWidth || box.bottom > innerHeight))
      .map(({ name, box }) => `${name} ${JSON.stringify(box)}`);
  }, selector);
  assert.deepEqual(bad, []);
  assert.ok(await person.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the screen');
}

export function people(stage) {
  test('the start page leads into a room with a name of its own', async () => {
    const person = await Person.enter(stage.left, stage.appliance, '/');
    const name = await person.page.inputValue('#home-room');
    assert.match(name, /^[a-z]+-[a-z]+-[a-z0-9]{4}$/);
    await person.page.click('#home-form .primary');
    await person.page.waitForURL(`${stage.appliance.origin}/r/${name}`);
    await person.sees('#join');
    await person.goHome();
  });

  test('a third person is told that the room is full, and the two are not disturbed', async () => {
    const [first, second] = await pair(stage, 'two-seats');
    const third = await Person.enter(stage.left, stage.appliance, '/r/two-seats');
    await third.join();
    await third.reaches('failed', (state) => state.reason === 'full');
    assert.equal(await third.text('#card-title'), 'This room is full');
    await shot(third, 'full');
    await first.decodes(10);
    await second.decodes(10);
    await second.page.click('[data-do=leave]');
    await first.reaches('waiting');
    await third.page.click('#card-retry');
    await third.reaches('connected');
    await first.reaches('connected');
    for (const person of [first, second, third]) await person.goHome();
  });

  test('who leaves is missed at once and may come back', async () => {
    const [first, second] = await pair(stage, 'coming-and-going');
    await second.page.click('[data-do=leave]');
    await first.reaches('waiting', (state) => state.peerLeft, 3000);
    assert.equal(await first.text('#card-title'), 'The other person has left');
    assert.equal(await second.text('#card-title'), 'You left the call');
    await second.page.click('#card-retry');
    await first.reaches('connected');
    await second.decodes(10);
    await first.goHome();
    await second.goHome();
  });

  test('a closed tab is missed at once', async () => {
    const [first, second] = await pair(stage, 'closed-tab');
    await second.page.close({ runBeforeUnload: false });
    await first.reaches('waiting', (state) => state.peerLeft, 10000);
    await first.goHome();
    await second.context.close();
  });

  test('muting and switching the camera off reach the other side, and back', async () => {
    const [first, second] = await pair(stage, 'quiet');
    const energy = () => first.page.evaluate(async () => {
      const report = await window.callbox.pc.getStats();
      return [...report.values()].find((s) => s.type === 'inbound-rtp' && s.kind === 'audio').totalAudioEnergy;
    });
    await first.decodes(10);
    await until('the fake microphone beeps', async () => (await energy()) > 0);
    await second.page.click('.toolbar [data-do=audio]');
    await second.page.click('.toolbar [data-do=video]');
    await first.sees('#peer-muted');
    await first.sees('#remote-blank');
    const still = async (what, read, noise) => {
      let last = await read();
      await until(`${what} stands still for a second`, async () => {
        await new Promise((done) => setTimeout(done, 1500));
        const now = await read();
        const same = Math.abs(now - last) < noise;
        last = now;
        return same || now;
      });
    };
    // A decoder that waits for packets fills the gap with a noise of its own; a beep is a thousand times that.
    await still('sound', energy, 1e-4);
    await still('picture', () => first.frames(), 1);
    assert.equal(await second.page.evaluate(() => window.callbox.pc.getSenders().filter((one) => one.track?.kind === 'video').length), 0);
    await second.page.click('.toolbar [data-do=audio]');
    await second.page.click('.toolbar [data-do=video]');
    await until('both notes are gone', async () => !(await first.visible('#peer-muted')) && !(await first.visible('#remote-blank')));
    await first.decodes(10);
    const loud = await energy();
    await until('sound is back', async () => (await energy()) > loud);
    await first.goHome();
    await second.goHome();
  });

  test('who denies camera and microphone is told so, and still sees the other side', async () => {
    const first = await Person.enter(stage.denying, stage.appliance, '/r/denied');
    await until('the page says why', async () => (await first.page.evaluate(() => window.callbox.media.problems.video)) === 'denied');
    assert.match(await first.text('#lobby-problem'), /not allowed/);
    assert.equal(await first.text('#join'), 'Join to watch and listen');
    await shot(first, 'denied');
    await first.join();
    await first.reaches('waiting');
    const second = await Person.enter(stage.right, stage.appliance, '/r/denied');
    await second.join();
    await first.decodes(30);
    await second.sees('#remote-blank');
    await second.sees('#peer-muted');
    await first.goHome();
    await second.goHome();
  });

  test('without any device the page says so and the call is still possible', async () => {
    const without = (page) => page.addInitScript(() => {
      navigator.mediaDevices.enumerateDevices = async () => [];
      navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException('none', 'NotFoundError');
      };
    });
    const first = await Person.enter(stage.left, stage.appliance, '/r/no-devices', { setUp: without });
    assert.match(await first.text('#lobby-problem'), /No camera and no microphone found/);
    await first.join();
    const second = await Person.enter(stage.right, stage.appliance, '/r/no-devices');
    await second.join();
    await first.decodes(10);
    await first.goHome();
    await second.goHome();
  });

  test('a room may be called anything, and a Chinese browser is spoken to in Chinese', async () => {
    const chinese = { locale: 'zh-CN' };
    const [first, second] = await pair(stage, '会议室 1', '', { first: chinese, second: chinese });
    assert.equal(await first.page.evaluate(() => document.documentElement.lang), 'zh-CN');
    await until('the path is named', async () => /直连|中继/.test(await first.text('#path-text')) || (await first.text('#path-text')));
    await second.page.click('[data-do=leave]');
    await first.reaches('waiting');
    assert.equal(await first.text('#card-title'), '对方已离开');
    assert.equal(await second.text('#card-retry'), '重新加入');
    await shot(first, 'chinese');
    await first.goHome();
    await second.goHome();
  });

  test('on a phone everything is within reach', async () => {
    const start = await Person.enter(stage.left, stage.appliance, '/', PHONE);
    await controlsAreReachable(start, 'button, input, a');
    await start.goHome();
    const lobby = await Person.enter(stage.left, stage.appliance, '/r/phone-lobby', PHONE);
    await until('the preview runs', () => lobby.page.evaluate(() => document.querySelector('#preview').videoWidth > 0));
    await controlsAreReachable(lobby, '#join, .over button, select');
    await shot(lobby, 'phone-lobby');
    await lobby.goHome();
    const [first, second] = await pair(stage, 'phone', '?policy=relay', { first: PHONE });
    await first.decodes(10);
    await controlsAreReachable(first, '.toolbar button, #path');
    await shot(first, 'phone-call');
    await first.page.setViewportSize({ width: 844, height: 390 });
    await controlsAreReachable(first, '.toolbar button, #path');
    await shot(first, 'phone-sideways');
    await first.goHome();
    await second.goHome();
  });
}

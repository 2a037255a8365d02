// The room's lock and its chat: for pairs and for more, by keyboard, and with text that would be code elsewhere.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pair } from './calls.js';
import { Person, until } from './support.js';

const EVIL = '<img src=x onerror="window.broken = 1"><b>bold</b> & "quoted" &amp;\u202e';

/** What the chat of somebody says. */
const lines = (person) => person.page.evaluate(() => [...document.querySelectorAll('#chat-log li')].map((one) => [one.className, one.querySelector('p').textContent]));

async function hears(person, text, whose = 'other') {
  await until(`${JSON.stringify(text)} arrives`, async () => {
    const all = await lines(person);
    const last = all.at(-1);
    return (last?.[0] === whose && last[1] === text) || all;
  });
}

export function talk(stage) {
  test('two people write to each other, by keyboard alone, and what they write stays text', async () => {
    const [first, second] = await pair(stage, 'chat');
    // The call begins with the first button focused: the way to the chat is a few steps long.
    await until('the keyboard reaches the chat', async () => {
      await first.page.keyboard.press('Tab');
      return first.page.evaluate(() => document.activeElement.id === 'chat-button');
    });
    await first.page.keyboard.press('Enter');
    assert.equal(await first.page.evaluate(() => document.activeElement.id), 'chat-input');
    await first.page.keyboard.type('hello');
    await first.page.keyboard.press('Enter');
    await hears(first, 'hello', 'own');
    await until('the other side sees that there is something', async () => (await second.text('#chat-unread')) === '1');
    assert.equal(await second.page.getAttribute('#chat-button', 'aria-label'), 'Chat, unread messages: 1');
    await second.page.click('#chat-button');
    await hears(second, 'hello');
    assert.ok(!(await second.visible('#chat-unread')));
    await second.page.fill('#chat-input', EVIL);
    await second.page.click('#chat-send');
    await hears(first, EVIL);
    assert.deepEqual(await first.page.evaluate(() => [window.broken, document.querySelectorAll('#chat-log img, #chat-log p b').length]), [undefined, 0]);
    await first.page.keyboard.press('Escape');
    assert.ok(!(await first.visible('#chat')));
    assert.equal(await first.page.evaluate(() => document.activeElement.id), 'chat-button');
    for (const one of [first, second]) await one.decodes(5);
    for (const one of [first, second]) await one.goHome();
  });

  test('what is written is bounded: in length, in number, and when nobody is there', async () => {
    const [first, second] = await pair(stage, 'chat-bounds');
    await first.page.click('#chat-button');
    await second.page.click('#chat-button');
    // Past the limit of the field, as a client of somebody else's might.
    await first.page.evaluate(() => {
      const { send: original } = WebSocket.prototype;
      WebSocket.prototype.send = function (text) {
        window.own ??= JSON.parse(text).uid;
        return original.call(this, text);
      };
      document.querySelector('.toolbar [data-do=audio]').click();
    });
    await until('its id is known', () => first.page.evaluate(() => Boolean(window.own)));
    await first.page.evaluate(() => {
      window.sockets.at(-1).send(JSON.stringify({ cmd: 'chat', roomId: 'chat-bounds', uid: window.own, msg: 'x'.repeat(5000) }));
    });
    await hears(second, 'x'.repeat(2000));
    await second.page.evaluate(() => {
      const input = document.querySelector('#chat-input');
      for (let count = 0; count < 120; count += 1) {
        input.value = `number ${count}`;
        document.querySelector('#chat-form').requestSubmit();
      }
    });
    await hears(first, 'number 119');
    await new Promise((done) => setTimeout(done, 3000));
    await second.page.evaluate(() => {
      const input = document.querySelector('#chat-input');
      for (let count = 120; count < 230; count += 1) {
        input.value = `number ${count}`;
        document.querySelector('#chat-form').requestSubmit();
      }
    });
    await hears(first, 'number 229');
    assert.equal((await lines(first)).length, 200);
    await second.page.click('[data-do=leave]');
    await until('there is nobody to write to', () => first.page.evaluate(() => document.querySelector('#chat-input').disabled));
    await first.goHome();
    await second.goHome();
  });

  test('a locked room lets nobody in until a member opens it, in a grid and in Chinese too', async () => {
    const served = { ...stage, appliance: stage.served };
    const people = await pair(served, 'locked', '', { second: { locale: 'zh-CN' } });
    const [first, second] = people;
    const third = await Person.enter(stage.left, stage.served, '/r/locked');
    await third.join();
    for (const one of [...people, third]) await one.reaches('connected');
    people.push(third);
    await first.page.click('#chat-button');
    await first.page.fill('#chat-input', 'to both');
    await first.page.keyboard.press('Enter');
    for (const one of [second, third]) await hears(one, 'to both');
    await first.page.keyboard.press('Escape');
    await third.page.click('[data-do=leave]');

    const pressed = (person) => person.page.getAttribute('#lock', 'aria-pressed');
    assert.equal(await pressed(first), 'false');
    await first.page.focus('#lock');
    await first.page.keyboard.press('Enter');
    for (const one of [first, second]) await until('the room is shown as locked', async () => (await pressed(one)) === 'true');
    assert.equal(await first.page.getAttribute('#lock', 'aria-label'), 'Unlock the room');
    assert.equal(await second.page.getAttribute('#lock', 'aria-label'), '解锁房间');
    await third.page.click('#card-retry');
    await third.reaches('failed', (state) => state.reason === 'locked');
    // Any member may open it.
    await second.page.click('#lock');
    await until('the room is shown as open', async () => (await pressed(first)) === 'false');
    await third.page.click('#card-retry');
    await third.reaches('connected');
    for (const one of people) await one.goHome();
  });

  test('who may not lock the room has no button for it', async () => {
    const person = await Person.enter(stage.left, stage.appliance, '/r/no-lock', {
      setUp: (page) => page.addInitScript(() => {
        // What the page has is a class of the test's own, derived from the browser's.
        const original = Object.getPrototypeOf(WebSocket.prototype);
        const descriptor = Object.getOwnPropertyDescriptor(original, 'onmessage');
        Object.defineProperty(original, 'onmessage', {
          ...descriptor,
          set(run) {
            descriptor.set.call(this, run && ((event) => run({ data: event.data.replace('"mayLock":true', '"mayLock":false') })));
          },
        });
      }),
    });
    await person.join();
    await person.reaches('waiting');
    assert.ok(!(await person.visible('#lock')));
    await person.goHome();
  });
}

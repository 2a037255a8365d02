// The operator's dashboard: locked until the token is given, then what goes on, and a way to end it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Person, until } from './support.js';

export function dashboard(stage) {
  test('the dashboard asks for the token, shows a call, speaks Chinese, and ends the call', async () => {
    const { served } = stage;
    const first = await Person.enter(stage.left, served, '/r/watched');
    await first.join();
    await first.reaches('waiting');
    const second = await Person.enter(stage.right, served, '/r/watched');
    await second.join();
    await second.reaches('connected');

    const operator = await Person.enter(stage.left, { origin: served.admin }, '/');
    const { page } = operator;
    await operator.sees('#login');
    assert.equal(await operator.visible('#page'), false);
    await page.fill('#token', 'guess');
    await page.click('#login button');
    await until('a wrong token is refused', async () => /not accepted/.test(await operator.text('#wrong')));
    await page.fill('#token', served.token);
    await page.click('#login button');
    await operator.sees('#page');
    assert.equal(await operator.text('#state'), 'ready');
    assert.match(await operator.text('#certificate'), /self-signed/);
    await until('both members are listed', async () => {
      const rows = await page.locator('#rooms tr').allInnerTexts();
      return (rows.length === 1 && rows[0].match(/\/(24|48)/g)?.length === 2 && /native/.test(rows[0])) || rows;
    });
    assert.doesNotMatch(await operator.text('body'), /watched/, 'names of rooms are private');
    await page.click('#language');
    await until('it speaks Chinese', async () => (await operator.text('#state')) === '就绪');
    await page.reload();
    await until('token and language stay with the tab', async () => (await operator.text('#state')) === '就绪');

    page.on('dialog', (dialog) => dialog.accept());
    await page.locator('#rooms tr > td:last-child button').click();
    for (const person of [first, second]) await person.reaches('failed', (state) => state.reason === 'removed');
    await until('the room is gone', async () => (await operator.text('#rooms')).trim() === '无');
    // Asking without the token, and with a wrong one, is what it begins with.
    await operator.goHome([/401/]);
    for (const person of [first, second]) await person.goHome();
  });

  test('the operator ends a room of AppRTC, and our pages do not come back', async () => {
    const { served } = stage;
    const first = await Person.enter(stage.left, served, '/r/ended?dialect=apprtc');
    await first.join();
    await first.reaches('waiting');
    const second = await Person.enter(stage.right, served, '/r/ended?dialect=apprtc');
    await second.join();
    await second.reaches('connected');
    const ask = (path, options) => fetch(`${served.admin}${path}`, { ...options, headers: { authorization: `Bearer ${served.token}` } });
    const { rooms } = await (await ask('/sessions?only=rooms')).json();
    const room = rooms.find(({ dialect }) => dialect === 'apprtc');
    assert.equal(room.members.length, 2);
    assert.equal((await ask(`/sessions/${room.id}`, { method: 'DELETE' })).status, 200);
    for (const person of [first, second]) await person.reaches('failed', (state) => state.reason === 'removed');
    const left = await (await ask('/sessions?only=rooms')).json();
    assert.deepEqual(left.rooms.filter(({ dialect }) => dialect === 'apprtc'), []);
    for (const person of [first, second]) await person.goHome();
  });
}

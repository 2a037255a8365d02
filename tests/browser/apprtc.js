// Calls between our page in an AppRTC room and a client that does what AppRTC's web page does: the same
// requests in the same order, side by side where that page has them side by side. It is our own, and has no screen.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Person, until } from './support.js';

/** Runs in the browser. */
async function startClient(room) {
  const told = await (await fetch('/params')).json();
  const client = { errors: [], byes: 0, pc: null, socket: null, initiator: false, path: '' };
  window.client = client;
  const media = navigator.mediaDevices.getUserMedia(JSON.parse(told.media_constraints));
  const ice = fetch(told.ice_server_url, { method: 'POST' }).then((response) => response.json());

  client.join = async () => {
    const socket = new WebSocket(told.wss_url);
    client.socket = socket;
    socket.onmessage = ({ data }) => client.hear(JSON.parse(data));
    const open = new Promise((done, fail) => {
      socket.onopen = done;
      socket.onerror = fail;
    });
    const joined = fetch(`/join/${room}${location.search}`, { method: 'POST' }).then((response) => response.json());
    const [, { result, params }] = await Promise.all([open, joined]);
    if (result !== 'SUCCESS') throw new Error(result);
    client.params = params;
    client.path = `${params.room_id}/${params.client_id}`;
    client.initiator = params.is_initiator === 'true';
    socket.send(JSON.stringify({ cmd: 'register', roomid: params.room_id, clientid: params.client_id }));
    await client.begin(params.messages.map((text) => JSON.parse(text)));
  };

  client.begin = async (messages) => {
    const [stream, { iceServers }] = await Promise.all([media, ice]);
    const pc = new RTCPeerConnection({ ...JSON.parse(told.pc_config), iceServers });
    client.pc = pc;
    for (const track of stream.getTracks()) pc.addTrack(track, stream);
    pc.onicecandidate = ({ candidate }) => {
      if (!candidate) return;
      const { sdpMLineIndex: label, sdpMid: id } = candidate;
      client.say({ type: 'candidate', label, id, candidate: candidate.candidate });
    };
    if (client.initiator) {
      // A browser throws here when the link is of another origin.
      history.pushState({}, '', client.params.room_link);
      const offer = await pc.createOffer();
      await pc.setLocalDescription(offer);
      client.say({ sdp: offer.sdp, type: 'offer' });
      return;
    }
    for (const message of messages.filter(({ type }) => type === 'offer')) await client.take(message);
    for (const message of messages.filter(({ type }) => type !== 'offer')) await client.take(message);
  };

  // Who called posts everything, at once, and looks at no answer; who was called uses the socket.
  client.say = (message) => {
    const text = JSON.stringify(message);
    if (client.initiator) fetch(`/message/${client.path}${location.search}`, { method: 'POST', body: text });
    else client.socket.send(JSON.stringify({ cmd: 'send', msg: text }));
  };

  client.hear = ({ msg, error }) => {
    if (error) client.errors.push(error);
    else client.take(JSON.parse(msg)).catch((wrong) => client.errors.push(String(wrong)));
  };

  client.take = async (message) => {
    const { pc } = client;
    if (message.type === 'candidate') {
      const { label: sdpMLineIndex, id: sdpMid, candidate } = message;
      await pc.addIceCandidate({ sdpMLineIndex, sdpMid, candidate });
    } else if (message.type === 'offer') {
      await pc.setRemoteDescription(message);
      const answer = await pc.createAnswer();
      await pc.setLocalDescription(answer);
      client.say({ sdp: answer.sdp, type: 'answer' });
    } else if (message.type === 'answer') {
      await pc.setRemoteDescription(message);
    } else if (message.type === 'bye') {
      client.byes += 1;
      pc.close();
      client.initiator = true;
      await client.begin([]);
    } else {
      client.errors.push(`what is ${message.type}?`);
    }
  };

  client.hangUp = async () => {
    client.pc.close();
    await fetch(`/leave/${client.path}`, { method: 'POST' });
    client.socket.send(JSON.stringify({ cmd: 'send', msg: JSON.stringify({ type: 'bye' }) }));
    client.socket.close();
    await fetch(`${client.params.wss_post_url}/${client.path}`, { method: 'DELETE' });
  };

  client.frames = async () => {
    for (const stat of (await client.pc.getStats()).values()) {
      if (stat.type === 'inbound-rtp' && stat.kind === 'video') return stat.framesDecoded ?? 0;
    }
    return 0;
  };

  await client.join();
}

/** A client in a browser of its own, beside a page that is otherwise idle. */
async function webClient(stage, room) {
  const person = await Person.enter(stage.right, stage.appliance, '/');
  await person.page.evaluate(startClient, room);
  person.decodesVideo = () => until('the web client decodes video', async () => {
    const frames = await person.page.evaluate(() => window.client.frames());
    return frames > 30 || frames;
  });
  person.isContent = async () => assert.deepEqual(await person.page.evaluate(() => window.client.errors), []);
  return person;
}

async function ourPage(stage, room) {
  const person = await Person.enter(stage.left, stage.appliance, `/r/${room}?dialect=apprtc`);
  await person.join();
  return person;
}

export function apprtc(stage) {
  test('our page is called by an AppRTC page, is left, and is called again', async () => {
    const ours = await ourPage(stage, 'apprtc-ours-first');
    await ours.reaches('waiting');
    const web = await webClient(stage, 'apprtc-ours-first');
    await ours.reaches('connected');
    await ours.decodes(30);
    await web.decodesVideo();
    await web.page.evaluate(() => window.client.hangUp());
    await ours.reaches('waiting', (state) => state.peerLeft);
    // "Rejoin": somebody new to the server, who finds the offer of the one who stayed.
    await web.page.evaluate(() => window.client.join());
    await ours.reaches('connected');
    await ours.decodes(30);
    await web.decodesVideo();
    assert.equal(await web.page.evaluate(() => window.client.initiator), false);
    await web.isContent();
    await ours.goHome();
    await web.goHome();
  });

  test('an AppRTC page waits, our page comes, leaves, and another one of ours comes', async () => {
    const web = await webClient(stage, 'apprtc-web-first');
    assert.match(web.page.url(), /\/r\/apprtc-web-first$/);
    const first = await ourPage(stage, 'apprtc-web-first');
    await first.reaches('connected');
    await first.decodes(30);
    await web.decodesVideo();
    await first.page.click('[data-do="leave"]');
    await until('the web client hears a goodbye', () => web.page.evaluate(() => window.client.byes === 1));
    await first.goHome();
    const second = await ourPage(stage, 'apprtc-web-first');
    await second.reaches('connected');
    await second.decodes(30);
    await web.decodesVideo();
    assert.equal(await web.page.evaluate(() => window.client.byes), 1);
    await web.isContent();
    await second.goHome();
    await web.goHome();
  });

  test('two of our pages meet in an AppRTC room, and a third finds it full', async () => {
    const first = await ourPage(stage, 'apprtc-two');
    await first.reaches('waiting');
    const second = await Person.enter(stage.right, stage.appliance, '/r/apprtc-two?dialect=apprtc');
    await second.join();
    await first.reaches('connected');
    await second.reaches('connected');
    await second.decodes(30);
    const third = await ourPage(stage, 'apprtc-two');
    await third.reaches('failed', (state) => state.reason === 'full');
    // The same name without the dialect is another room.
    const other = await Person.enter(stage.left, stage.appliance, '/r/apprtc-two');
    await other.join();
    await other.reaches('waiting');
    for (const person of [first, second, third, other]) await person.goHome();
  });
}

// Rooms over WebSocket and TCP, as clients of actionHero know them.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { startServer } from './server.js';
import { Inbox, connectLines, connectSocket, within } from './talk.js';

const require = createRequire(import.meta.url);
const ActionheroNodeClient = require('actionhero-client');

let server;

before(async () => {
  server = await startServer();
});
after(async () => {
  assert.equal(await server.stop(), 0);
});

// Answers and what is heard come each in their own order, and are told apart by
// their context.
class Sorted {
  response = new Inbox();
  user = new Inbox();
  api = new Inbox();

  put(text) {
    this[JSON.parse(text).context].put(text);
  }

  end() {
    for (const inbox of [this.response, this.user, this.api]) inbox.end();
  }

  take() {
    return this.response.take();
  }
}

async function connect() {
  const client = await connectSocket(`http://127.0.0.1:${server.web}/ws`, {}, new Sorted());
  const ask = client.ask;
  let number = 0;
  await client.inbox.api.take();
  client.ask = (message) => ask({ ...message, messageId: ++number });
  client.hear = async () => JSON.parse(await client.inbox.user.take());
  client.close = async () => {
    client.socket.close();
    await client.closed;
  };
  client.id = (await client.ask({ event: 'detailsView' })).data.id;
  return client;
}

const rooms = async (client) => (await client.ask({ event: 'detailsView' })).data.rooms;

test('over WebSocket the answers are those of the transcript, to the byte', async () => {
  const client = await connect();
  const expected = [
    [{ event: 'roomAdd', room: 'missing', messageId: 8 },
      '{"status":"Error: room does not exist","error":"Error: room does not exist","context":"response","data":{},"messageId":8}'],
    [{ event: 'roomAdd', room: 'wsroom', messageId: 9 },
      '{"status":"OK","context":"response","data":true,"messageId":9}'],
    [{ event: 'roomAdd', room: 'wsroom', messageId: 10 },
      '{"status":"Error: connection already in this room (wsroom)","error":"Error: connection already in this room (wsroom)","context":"response","data":{},"messageId":10}'],
    [{ event: 'say', room: 'wsroom', message: 'hello', messageId: 11 },
      '{"status":"OK","context":"response","messageId":11}'],
    [{ event: 'say', room: 'other', message: 'x', messageId: 13 },
      '{"status":"Error: connection not in this room (other)","error":"Error: connection not in this room (other)","context":"response","data":{"message":"x"},"messageId":13}'],
    [{ event: 'roomView', room: 'other', messageId: 15 },
      '{"status":"Error: connection not in this room (other)","error":"Error: connection not in this room (other)","context":"response","data":{},"messageId":15}'],
    [{ event: 'say', messageId: 16 },
      '{"status":"Error: both room and message are required","error":"Error: both room and message are required","context":"response","data":{},"messageId":16}'],
    [{ event: 'roomLeave', room: 'wsroom', messageId: 28 },
      '{"status":"OK","context":"response","data":true,"messageId":28}'],
    [{ event: 'roomLeave', room: 'wsroom', messageId: 29 },
      '{"status":"Error: connection not in this room (wsroom)","error":"Error: connection not in this room (wsroom)","context":"response","data":{},"messageId":29}'],
    [{ event: 'roomAdd', room: 'closed', messageId: 30 },
      '{"status":"Error: not allowed in this room (closed)","error":"Error: not allowed in this room (closed)","context":"response","data":{},"messageId":30}'],
  ];
  // All at once: what is asked of rooms is done one after the other.
  expected.forEach(([message]) => client.send(message));
  for (const [, answer] of expected) assert.equal(await client.inbox.take(), answer);
  await client.close();
});

test('what is no name is no room', async () => {
  const client = await connect();

  for (const room of ['wsroom\0', 'a|b', '', 'x'.repeat(129), 'a\nb', 7, { a: 1 }, null]) {
    const answer = await client.ask({ event: 'roomAdd', room });
    assert.match(answer.error, /cannot be a room's name|room does not exist/);
  }
  assert.equal((await client.ask({ event: 'roomAdd' })).error, 'Error: room does not exist');
  assert.deepEqual(await rooms(client), []);
  await client.close();
});

test('the answer to roomView has the members, and detailsView the rooms', async () => {
  const [one, other] = [await connect(), await connect()];

  await one.ask({ event: 'roomAdd', room: 'viewed' });
  await other.ask({ event: 'roomAdd', room: 'viewed' });
  await one.ask({ event: 'roomAdd', room: 'quiet' });
  assert.deepEqual(await rooms(one), ['viewed', 'quiet']);
  const { data } = await other.ask({ event: 'roomView', room: 'viewed' });
  assert.deepEqual(Object.keys(data), ['room', 'members', 'membersCount']);
  assert.equal(data.room, 'viewed');
  assert.deepEqual(Object.keys(data.members).sort(), [one.id, other.id].sort());
  assert.deepEqual(Object.keys(data.members[one.id]), ['id', 'joinedAt']);
  assert.equal(data.members[one.id].id, one.id);
  assert.ok(Math.abs(Date.now() - data.members[one.id].joinedAt) < 600000);
  assert.equal(data.membersCount, 2);
  await one.close();
  await other.close();
});

test('a message comes to all members, the speaker too, in its order', async () => {
  const [one, other, stranger] = [await connect(), await connect(), await connect()];

  await one.ask({ event: 'roomAdd', room: 'wsroom' });
  await other.ask({ event: 'roomAdd', room: 'wsroom' });
  await stranger.ask({ event: 'roomAdd', room: 'quiet' });
  for (let i = 0; i < 50; i++) one.send({ event: 'say', room: 'wsroom', message: i });
  for (const client of [one, other])
    for (let i = 0; i < 50; i++) {
      const heard = await client.hear();
      assert.deepEqual(Object.keys(heard), ['message', 'room', 'from', 'context', 'sentAt']);
      assert.equal(heard.message, i);
      assert.equal(heard.room, 'wsroom');
      assert.equal(heard.from, one.id);
    }
  // Objects stay what they are, and more than one value is said as words.
  await other.ask({ event: 'say', room: 'wsroom', message: { a: [1, 'é"'] } });
  assert.deepEqual((await one.hear()).message, { a: [1, 'é"'] });
  await other.ask({ event: 'say', room: 'wsroom', first: 'two', second: 'words' });
  assert.equal((await one.hear()).message, 'two words');
  assert.ok(stranger.inbox.user.isEmpty);
  for (const client of [one, other, stranger]) await client.close();
});

test('handlers change, drop and tailor what is said', async () => {
  const [one, other] = [await connect(), await connect()];

  for (const room of ['censored', 'tailored', 'quiet'])
    for (const client of [one, other]) await client.ask({ event: 'roomAdd', room });
  assert.match((await one.ask({ event: 'say', room: 'censored', message: 'x1' })).error, /not allowed/);
  assert.equal((await one.ask({ event: 'say', room: 'censored', message: 'y2' })).status, 'OK');
  assert.equal((await one.ask({ event: 'say', room: 'tailored', message: 'x3' })).status, 'OK');
  assert.equal((await one.ask({ event: 'say', room: 'tailored', message: 'y4' })).status, 'OK');
  assert.equal((await one.ask({ event: 'say', room: 'tailored', message: 'z5' })).status, 'OK');
  assert.equal((await one.ask({ event: 'say', room: 'quiet', message: '6' })).status, 'OK');
  const messages = [];
  for (let i = 0; i < 4; i++) messages.push((await other.hear()).message);
  assert.deepEqual(messages.sort().map(String), ['6', '[object Object]', '[object Object]', 'z5'].sort());
  assert.deepEqual(messages.filter((m) => m.aloud).map((m) => m.aloud).sort(), ['y2', 'y4']);
  // The speaker heard all but what was said in the quiet room.
  for (let i = 0; i < 3; i++) assert.notEqual((await one.hear()).message, '6');
  await other.ask({ event: 'say', room: 'quiet', message: '7' });
  assert.equal((await one.hear()).message, '7');
  await one.close();
  await other.close();
});

test('what a client asks of rooms waits within bounds', async () => {
  const [one, other] = [await connect(), await connect()];
  const message = 'm'.repeat(900000);

  assert.equal((await one.ask({ event: 'roomAdd', room: 'held' })).status, 'OK');
  for (let i = 0; i < 8; i++) one.send({ event: 'say', room: 'held', message, messageId: `held ${i}` });
  // The first one is held, and what has no room behind it is refused meanwhile.
  const refused = await one.take();
  assert.match(refused.error, /you have too many pending requests/);
  assert.match(refused.messageId, /held [2-7]/);
  await other.ask({ event: 'action', params: { action: 'openRoom' } });
  for (let i = 1; i < 8; i++) assert.match((await one.take()).messageId, /held/);
  await one.close();
  await other.close();
});

test('members of a room that is destroyed are told, and are none any more', async () => {
  const client = await connect();

  await client.ask({ event: 'roomAdd', room: 'defaultRoom' });
  const answer = await client.ask({ event: 'action', params: { action: 'destroyRoom', key: 'defaultRoom' } });
  assert.equal(answer.destroyed, true);
  const heard = await client.hear();
  assert.equal(heard.message, 'this room has been deleted');
  assert.equal(heard.from, '0');
  assert.deepEqual(await rooms(client), []);
  assert.equal((await client.ask({ event: 'roomAdd', room: 'defaultRoom' })).status, 'OK');
  await client.close();
});

test('over TCP the answers are those of the transcript', async () => {
  const other = await connect();
  const client = connectLines({ host: '127.0.0.1', port: server.tcp }, new Sorted());
  const expected = [
    ['roomAdd wsroom', '{"status":"OK","context":"response","data":true,"messageCount":1}'],
    ['roomAdd wsroom', '{"status":"connection already in this room","context":"response","data":false,"messageCount":2}'],
    ['roomAdd nope', '{"status":"room does not exist","context":"response","data":false,"messageCount":3}'],
    ['roomView nope', '{"status":"not member of room nope","context":"response","messageCount":4}'],
    ['say wsroom hello from A', '{"status":"OK","context":"response","messageCount":5}'],
    ['say wsroom', '{"status":"both room and message are required","context":"response","messageCount":6}'],
    ['paramView key', '{"status":"OK","context":"response","data":null,"messageCount":7}'],
    ['roomLeave wsroom', '{"status":"OK","context":"response","data":true,"messageCount":8}'],
    ['roomLeave wsroom', '{"status":"connection not in this room","context":"response","data":false,"messageCount":9}'],
    ['say wsroom after leave', '{"status":"connection not in this room","context":"response","messageCount":10}'],
    ['quit', '{"status":"Bye!","context":"api"}'],
  ];

  await client.inbox.api.take();
  await other.ask({ event: 'roomAdd', room: 'wsroom' });
  client.socket.write(expected.map(([line]) => `${line}\r\n`).join(''));
  for (const [line, answer] of expected)
    assert.equal(await client.inbox[line === 'quit' ? 'api' : 'response'].take(), answer);
  await client.ended;
  assert.equal((await other.hear()).message, 'hello from A');
  // Whoever speaks in lines does not hear itself.
  assert.ok(client.inbox.user.isEmpty);
  await other.close();
});

test('actionhero-client joins, speaks and hears', async () => {
  const client = new ActionheroNodeClient();
  const other = await connect();
  const heard = new Promise((resolve) => client.on('say', resolve));

  await within(client.connect({ host: '127.0.0.1', port: server.tcp }), 'connection');
  assert.equal((await client.roomAdd('mixed')).data.status, 'OK');
  await other.ask({ event: 'roomAdd', room: 'mixed' });
  assert.equal((await client.roomView('mixed')).data.data.membersCount, 2);
  assert.equal((await client.say('mixed', 'a few words')).data.status, 'OK');
  assert.equal((await other.hear()).message, 'a few words');
  await other.ask({ event: 'say', room: 'mixed', message: 'hi' });
  const message = await within(heard, 'message');
  assert.equal(message.message ?? message.data?.message, 'hi');
  assert.equal((await client.roomLeave('mixed')).data.status, 'OK');
  await client.disconnect();
  await other.close();
});

test('what a client says before it leaves is said, and it is a member no more', async () => {
  const other = await connect();
  const leaver = await connect();

  await other.ask({ event: 'roomAdd', room: 'left' });
  leaver.send({ event: 'roomAdd', room: 'left' });
  leaver.send({ event: 'say', room: 'left', message: 'bye' });
  await leaver.close();
  assert.equal((await other.hear()).message, 'bye');
  const isAlone = async () =>
    (await other.ask({ event: 'roomView', room: 'left' })).data.membersCount === 1;
  await within((async () => { while (!await isAlone()); })(), 'leave');
  await other.close();
});

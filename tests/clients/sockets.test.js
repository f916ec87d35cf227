// Sessions over WebSocket and TCP, by clients that others wrote.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { startServer } from './server.js';
import { Inbox, connectLines as linesOf, connectSocket, within } from './talk.js';

const require = createRequire(import.meta.url);
const ActionheroNodeClient = require('actionhero-client');
const Primus = require('primus');
const PrimusClient = Primus.createSocket({ transformer: 'websockets' });

let server;

before(async () => {
  server = await startServer({ BEAT_MS: '300', KEEPS_CONTEXT: '' });
});
after(async () => {
  assert.equal(await server.stop(), 0);
});

async function connect(path = '/ws', options = {}, web = server.web) {
  const client = await connectSocket(`http://127.0.0.1:${web}${path}`, options);
  client.welcome = await client.inbox.take();
  return client;
}

const connectLines = () => linesOf({ host: '127.0.0.1', port: server.tcp });

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

// ---- ws ----

test('the answers are those of the transcript, to the byte', async () => {
  const client = await connect('/ws?sessionID=my-fingerprint');

  assert.equal(client.welcome, '{"welcome":"Hello! Welcome to the test","context":"api"}');
  const expected = [
    [{ event: 'action', params: { action: 'cacheTest' }, messageId: 4 },
      '{"error":"key is a required parameter for this action","context":"response","messageId":4}'],
    [{ event: 'action', params: { action: 'cacheTest', key: 'kkk', value: 'vvv' }, messageId: 5 },
      '{"key":"kkk","value":"vvv","context":"response","messageId":5}'],
    [{ event: 'action', params: { action: 'nope' }, messageId: 6 },
      '{"error":"unknown action or invalid apiVersion","context":"response","messageId":6}'],
    [{ event: 'roomAdd', room: 'missing', messageId: 8 },
      '{"status":"Error: room does not exist","error":"Error: room does not exist","context":"response","data":{},"messageId":8}'],
    [{ event: 'say', room: 'other', message: 'x', messageId: 13 },
      '{"status":"Error: connection not in this room (other)","error":"Error: connection not in this room (other)","context":"response","data":{"message":"x"},"messageId":13}'],
    [{ event: 'roomView', room: 'other', messageId: 15 },
      '{"status":"Error: connection not in this room (other)","error":"Error: connection not in this room (other)","context":"response","data":{},"messageId":15}'],
    [{ event: 'paramAdd', key: 'a', value: 1, messageId: 17 },
      '{"status":"Error: verb not found or not allowed (paramAdd)","error":"Error: verb not found or not allowed (paramAdd)","context":"response","data":{"key":"a","value":1},"messageId":17}'],
    [{ event: 'file', file: 'css/nothere', messageId: 18 },
      '{"error":"that file is not found","content":null,"mime":"text/html","length":22,"context":"response","messageId":18}'],
    [{ event: 'bogus', messageId: 20 },
      '{"status":"Error: verb not found or not allowed (bogus)","error":"Error: verb not found or not allowed (bogus)","context":"response","data":{},"messageId":20}'],
  ];
  for (const [message, answer] of expected) {
    client.send(message);
    assert.equal(await client.inbox.take(), answer);
  }
  const details = await client.ask({ event: 'detailsView', messageId: 30 });
  assert.deepEqual(Object.keys(details), ['status', 'context', 'data', 'messageId']);
  assert.deepEqual(Object.keys(details.data), ['id', 'fingerprint', 'remoteIP', 'remotePort', 'params',
    'connectedAt', 'rooms', 'totalActions', 'pendingActions']);
  assert.equal(details.data.fingerprint, 'my-fingerprint');
  assert.equal(details.data.remotePort, client.socket._socket.localPort);
  client.socket.close();
  await client.closed;
});

test('a messageId is made where there is none, and echoed as it is', async () => {
  const client = await connect();

  for (const messageId of [undefined, null, 0, '', false])
    assert.match((await client.ask({ event: 'detailsView', messageId })).messageId, UUID);
  for (const messageId of ['ä"\\', -1.5, true, [1], { a: 1 }])
    assert.deepEqual((await client.ask({ event: 'action', params: { action: 'randomNumber' }, messageId })).messageId,
      messageId);
  client.send('{"event":"quit"}');
  assert.equal((await client.closed).code, 1000);
});

test('what makes no sense gets an error and harms nobody', async () => {
  const client = await connect();

  for (const text of ['not json', '', '{', '{"event":"action"', '"\ud800', '['.repeat(100)]) {
    const answer = await client.ask(text);
    assert.match(answer.error, /^Error: the message is (not JSON|nested too deep)$/);
    assert.match(answer.messageId, UUID);
  }
  for (const text of ['null', '[1,2]', '7', '"text"', 'true'])
    assert.equal((await client.ask(text)).error, 'Error: verb not found or not allowed (undefined)');
  client.socket.send(Buffer.from([0xff, 0xfe]));
  assert.equal(JSON.parse(await client.inbox.take()).error, 'Error: the message is not JSON');
  assert.equal((await client.ask({ event: 'action', params: 3, messageId: 1 })).error,
    'unknown action or invalid apiVersion');
  assert.equal((await client.ask('{"event":"action","params":{"a":1,"a":2}}')).error, 'a parameter is there twice');
  client.socket.terminate();
});

test('five actions of a connection run at once', async () => {
  const client = await connect();

  for (let messageId = 1; messageId <= 7; messageId++)
    client.send({ event: 'action', params: { action: 'sleepTest', sleepDuration: 300 }, messageId });
  for (const messageId of [6, 7])
    assert.deepEqual(JSON.parse(await client.inbox.take()),
      { error: 'you have too many pending requests', context: 'response', messageId });
  for (const messageId of [1, 2, 3, 4, 5])
    assert.deepEqual(JSON.parse(await client.inbox.take()),
      { sleepDuration: 300, context: 'response', messageId });
  client.socket.terminate();
});

test('who leaves in the middle of an action leaves nothing behind', async () => {
  for (let i = 0; i < 5; i++) {
    const client = await connect();

    client.send({ event: 'action', params: { action: 'sleepTest', sleepDuration: 60000 } });
    client.send({ event: 'detailsView' });
    assert.equal(JSON.parse(await client.inbox.take()).data.pendingActions, 1);
    client.socket.terminate();
  }
  // The server's own check when it stops: no session is left.
});

test('big messages go both ways, compressed or not', async () => {
  for (const perMessageDeflate of [false, true, { serverNoContextTakeover: true }, { serverMaxWindowBits: 10 }]) {
    const client = await connect('/ws', { perMessageDeflate });

    assert.equal(client.socket.extensions !== '', perMessageDeflate !== false);
    for (const bytes of [0, 1000, 5000, 70000, 900000]) {
      const key = 'y'.repeat(bytes) + 'é';
      const answer = await client.ask({ event: 'action', params: { action: 'cacheTest', key } });
      assert.equal(answer.key, key);
    }
    client.socket.close(3001, 'enough');
    assert.equal((await client.closed).code, 3001);
  }
});

test('a message over the limit is refused with 1009, compressed or not', async () => {
  for (const perMessageDeflate of [false, true]) {
    const client = await connect('/ws', { perMessageDeflate });

    client.send('x'.repeat((1 << 20) + 1));
    assert.equal((await client.closed).code, 1009);
  }
});

test('the protocol is kept', async () => {
  const client = await connect();

  client.socket.ping('hello');
  assert.equal(String(await within(new Promise((resolve) => client.socket.once('pong', resolve)), 'pong')), 'hello');
  await within(new Promise((resolve) => client.socket.once('ping', resolve)), 'ping');
  client.socket._socket.write(Buffer.from([0x81, 0x01, 0x78])); // not masked
  assert.equal((await client.closed).code, 1002);
});

test('requests that begin no WebSocket are refused', async () => {
  const ask = async (headers, method = 'GET') => (await fetch(`http://127.0.0.1:${server.web}/ws`, { headers, method })).status;

  assert.equal(await ask({}), 426);
  assert.equal(await ask({}, 'POST'), 405);
});

test('a client that does not read is not read from, and loses nothing', async () => {
  const client = await connect('/ws', { perMessageDeflate: false });
  const count = 60;

  client.socket.pause();
  for (let messageId = 1; messageId <= count; messageId++)
    client.send({ event: 'documentation', messageId });
  for (let messageId = count + 1; messageId <= count + 4; messageId++)
    client.send({ event: 'action', params: { action: 'big', bytes: 900000 }, messageId });
  client.socket.resume();
  const seen = new Set();
  for (let i = 0; i < count + 4; i++) seen.add(JSON.parse(await client.inbox.take()).messageId);
  assert.equal(seen.size, count + 4);
  client.socket.terminate();
});

test('who is silent, or takes nothing, is closed; others are not', async () => {
  const short = await startServer({ BEAT_MS: '300', IDLE_MS: '1500', STALL_MS: '1500' });
  const options = { perMessageDeflate: false };
  const lively = await connect('/ws', options, short.web);
  const silent = await connect('/ws', { ...options, autoPong: false }, short.web);
  const stuck = await connect('/ws', options, short.web);

  stuck.socket.pause();
  for (let i = 0; i < 40; i++)
    stuck.send({ event: 'action', params: { action: 'big', bytes: 900000 } });
  assert.deepEqual(await silent.closed, { code: 1001, reason: 'nothing was heard' });
  // It is noticed by writing alone, as it does not read.
  const writes = setInterval(() => stuck.socket._socket.write(''.padEnd(1)), 50);
  const end = within(new Promise((resolve) => stuck.socket._socket.on('close', resolve)), 'cut');
  await end.finally(() => clearInterval(writes));
  assert.equal((await lively.ask({ event: 'detailsView', messageId: 1 })).status, 'OK');
  lively.socket.terminate();
  assert.equal(await short.stop(), 0);
});

// ---- primus ----

test('a Primus client pings, asks, and quits', async () => {
  const primus = new PrimusClient(`http://127.0.0.1:${server.web}/primus`, { strategy: false });
  const inbox = new Inbox();

  primus.on('data', (data) => inbox.put(data));
  assert.equal((await inbox.take()).welcome, 'Hello! Welcome to the test');
  await within(new Promise((resolve) => primus.on('incoming::ping', resolve)), 'ping');
  primus.write({ event: 'action', params: { action: 'who' }, messageId: 1 });
  const who = await inbox.take();
  assert.equal(who.context, 'response');
  const id = await within(new Promise((resolve) => primus.id(resolve)), 'id');
  assert.equal(id, who.id);
  const ended = within(new Promise((resolve) => primus.on('end', resolve)), 'end');
  primus.write({ event: 'quit', messageId: 2 });
  await ended; // and it does not come back
});

// ---- TCP ----

test('actionhero-client works as it is', async () => {
  const client = new ActionheroNodeClient();
  const welcome = new Promise((resolve) => client.on('welcome', resolve));

  await within(client.connect({ host: '127.0.0.1', port: server.tcp }), 'connection');
  assert.equal(await within(welcome, 'welcome'), 'Hello! Welcome to the test');
  assert.ok(client.details.id ?? client.id);
  assert.match((await client.action('randomNumber')).data.stringRandomNumber, /^Your random number is 0\./);
  assert.equal((await client.actionWithParams('cacheTest', { key: 'k', value: 'v' })).data.value, 'v');
  await client.paramAdd('key', 'v');
  assert.equal((await client.paramsView()).data.data.key, 'v');
  await client.paramDelete('key');
  assert.equal((await client.paramsView()).data.data.key, undefined);
  await client.disconnect();
});

test('lines are answered as in the transcript', async () => {
  const client = connectLines();

  assert.deepEqual(await client.take(), { welcome: 'Hello! Welcome to the test', context: 'api' });
  const expected = [
    ['nope', '{"error":"Error: unknown action or invalid apiVersion","context":"response","messageCount":1}'],
    ['cacheTest', '{"error":"Error: key is a required parameter for this action","context":"response","messageCount":2}'],
    ['paramAdd key=abc', '{"status":"OK","context":"response","data":null,"messageCount":3}'],
    ['paramAdd unknownParam=1', '{"status":"OK","context":"response","data":null,"messageCount":4}'],
    ['paramView key', '{"status":"OK","context":"response","data":"abc","messageCount":5}'],
    ['cacheTest', '{"key":"abc","value":"","context":"response","messageCount":6}'],
    ['paramDelete key', '{"status":"OK","context":"response","data":null,"messageCount":7}'],
    ['paramsDelete', '{"status":"OK","context":"response","data":null,"messageCount":8}'],
    ['paramsView', '{"status":"OK","context":"response","data":{},"messageCount":9}'],
    ['{"action":"cacheTest","params":{"key":"jkey","value":"jval"}}',
      '{"key":"jkey","value":"jval","context":"response","messageCount":10}'],
    ['paramsView', '{"status":"OK","context":"response","data":{"key":"jkey","value":"jval","action":"cacheTest"},"messageCount":11}'],
    ['{bad json', '{"error":"Error: the line is not JSON","context":"response","messageCount":12}'],
    ['roomAdd nope', '{"status":"room does not exist","context":"response","data":false,"messageCount":13}'],
    ['roomView nope', '{"status":"not member of room nope","context":"response","messageCount":14}'],
    ['say defaultRoom after leave', '{"status":"connection not in this room","context":"response","messageCount":15}'],
    ['file simple.html', '"Sorry, that file is not found :("'],
    ['quit', '{"status":"Bye!","context":"api"}'],
  ];
  // All at once, with either end of a line, and empty ones between them.
  client.socket.write(expected.map(([line], i) => line + (i % 2 ? '\r\n' : '\n\n')).join(''));
  for (const [, answer] of expected) assert.equal(await client.inbox.take(), answer);
  await client.ended;
});

test('a line may come byte by byte', async () => {
  const client = connectLines();

  await client.take();
  client.socket.setNoDelay(true);
  for (const byte of Buffer.from('paramAdd key=zoë€\r\nparamView key\n'))
    await new Promise((resolve) => client.socket.write(Buffer.from([byte]), resolve));
  await client.take();
  assert.equal((await client.take()).data, 'zoë€');
  client.socket.write(Buffer.from([4])); // Ctrl-D
  assert.deepEqual(await client.take(), { status: 'Bye!', context: 'api' });
  await client.ended;
});

test('Ctrl-C of a telnet says goodbye', async () => {
  const client = connectLines();

  await client.take();
  client.socket.write(Buffer.from([0xff, 0xf4, 0xff, 0xfd, 0x06]));
  assert.deepEqual(await client.take(), { status: 'Bye!', context: 'api' });
  await client.ended;
});

test('a line of 64 KiB is read, a longer one closes', async () => {
  const client = connectLines();

  await client.take();
  client.socket.write('paramAdd key=' + 'k'.repeat(65536 - 13) + '\r\nparamView key\n');
  await client.take();
  assert.equal((await client.take()).data.length, 65536 - 13);
  client.socket.write('x'.repeat(65538));
  assert.deepEqual(await client.take(),
    { error: 'Error: a line is longer than 65536 bytes', context: 'response', messageCount: 3 });
  await client.ended;
});

test('five actions of a TCP connection run at once', async () => {
  const client = connectLines();

  await client.take();
  client.socket.write('{"action":"sleepTest","params":{"sleepDuration":300}}\n'.repeat(7));
  for (const messageCount of [6, 7])
    assert.deepEqual(await client.take(),
      { error: 'Error: you have too many pending requests', context: 'response', messageCount });
  for (const messageCount of [1, 2, 3, 4, 5])
    assert.deepEqual(await client.take(), { sleepDuration: 300, context: 'response', messageCount });
  client.socket.destroy();
});

// ---- A server that goes, the last of these ----

test('a server that drains says goodbye when nothing runs', async () => {
  const idle = await connect();
  const busy = await connect();
  const idleLines = connectLines();
  const busyLines = connectLines();

  await idleLines.take();
  await busyLines.take();
  busy.send({ event: 'action', params: { action: 'sleepTest', sleepDuration: 500 }, messageId: 1 });
  busyLines.socket.write('{"action":"sleepTest","params":{"sleepDuration":500}}\n');
  busy.send({ event: 'detailsView' });
  assert.equal(JSON.parse(await busy.inbox.take()).data.pendingActions, 1);
  busyLines.socket.write('detailsView\n');
  assert.equal((await busyLines.take()).data.pendingActions, 1);
  server.drain();
  assert.deepEqual(await idle.closed, { code: 1001, reason: 'the server is shutting down' });
  assert.deepEqual(await idleLines.take(), { status: 'Bye!', context: 'api' });
  assert.equal(JSON.parse(await busy.inbox.take()).sleepDuration, 500);
  assert.equal((await busy.closed).code, 1001);
  assert.equal((await busyLines.take()).sleepDuration, 500);
  assert.deepEqual(await busyLines.take(), { status: 'Bye!', context: 'api' });
});

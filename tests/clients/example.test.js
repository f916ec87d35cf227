// The example's actions and files over WebSocket and TCP, with two workers, by
// clients that others wrote.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { PrimusClient, browserClient } from './actionhero.js';
import { startExample } from './example.js';
import { Inbox, connectLines, connectSocket, until, within } from './talk.js';

const require = createRequire(import.meta.url);
const ActionheroNodeClient = require('actionhero-client');

const large = 'Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich. '.repeat(3000);
const folder = mkdtempSync(join(tmpdir(), 'muster-files-'));
let server;

before(async () => {
  mkdirSync(join(folder, 'public', 'css'), { recursive: true });
  const write = (name, content) => writeFileSync(join(folder, 'public', name), content);
  write('index.html', '<h1>here</h1>\n');
  write('simple.html', '<h1>"hello"</h1>\n');
  write('css/a b%41.css', 'a {}\n');
  write('large.txt', large);
  write('zeros.bin', Buffer.alloc(600000));
  write('longer.txt', 'x'.repeat(1024 * 1024 + 1));
  write('.secret', 'secret');
  writeFileSync(join(folder, 'outside.txt'), 'secret');
  symlinkSync('../outside.txt', join(folder, 'public', 'link.txt'));
  server = await startExample(['--public', join(folder, 'public')]);
});
after(async () => {
  assert.equal(await server?.stop(), 0);
  rmSync(folder, { recursive: true });
});

// What a test that fails leaves connected would keep the rest from ending.
const leavers = [];
afterEach(() => leavers.splice(0).forEach((leave) => leave()));

const welcome = 'Hello! Welcome to the muster api';
// Of all workers: each new connection goes to the one that has the fewest.
async function pidsOf() {
  const clients = [];
  const pids = new Set();

  try {
    while (pids.size < 2 && clients.length < 100) {
      const client = await connectSocket(`${server.url}/ws`);
      clients.push(client);
      await client.take();
      pids.add((await client.ask({ event: 'action', params: { action: 'status' } })).pid);
    }
  } catch {
    return []; // a worker that was just told to go
  } finally {
    clients.forEach(({ socket }) => socket.close());
  }
  return [...pids].sort();
}
// As an object of this realm.
const plain = (value) => JSON.parse(JSON.stringify(value));

// Until no worker is left that was there before.
async function reload() {
  const old = await pidsOf();

  server.reload();
  await until(async () => {
    const pids = await pidsOf();
    return pids.length === 2 && pids.every((pid) => !old.includes(pid));
  }, 'new workers');
}

// ---- actionHero's browser client ----

async function connectBrowser() {
  const Client = browserClient(server.url, { Primus: PrimusClient });
  const client = new Client({ url: `${server.url}` });
  const said = new Promise((resolve) => client.on('welcome', resolve));
  leavers.push(() => client.disconnect());
  const details = await within(new Promise((resolve, reject) =>
    client.connect((error, value) => (error ? reject(error) : resolve(value)))), 'connection');

  return {
    client,
    details,
    welcome: await within(said, 'welcome'),
    ask: (method, ...args) =>
      within(new Promise((resolve) => client[method](...args, resolve)), `answer to ${method}`),
    coming: (event) => within(new Promise((resolve) => client.once(event, resolve)), event),
  };
}

test('the browser client of actionHero works as it is', async () => {
  const { client, details, welcome: said, ask } = await connectBrowser();

  assert.deepEqual(plain(said), { welcome, context: 'api' });
  assert.equal(client.welcomeMessage, welcome);
  assert.equal(client.state, 'connected');
  assert.equal(details.status, 'OK');
  assert.equal(client.id, details.data.id);
  const number = await ask('action', 'randomNumber');
  assert.ok(number.randomNumber >= 0 && number.randomNumber < 1);
  assert.equal(number.context, 'response');
  assert.deepEqual(plain(await ask('action', 'cacheTest', { key: 'abc' })),
    { error: 'value is a required parameter for this action', context: 'response', messageId: client.messageId });
  assert.equal((await ask('action', 'nope')).error, 'unknown action or invalid apiVersion');
  assert.equal((await ask('file', 'simple.html')).content, '<h1>"hello"</h1>\n');
  assert.ok((await ask('documentation')).data.status['1'].description);
  assert.equal((await ask('detailsView')).data.totalActions, 2);
});

test('its actions run side by side, five at a time', async () => {
  const { client, ask } = await connectBrowser();
  const order = [];
  const sleep = (sleepDuration) => ask('action', 'sleepTest', { sleepDuration })
    .then((answer) => order.push(answer.error ?? answer.sleepDuration));
  const slow = [4000, 4001, 4002, 4003].map(sleep);

  await ask('action', 'status');
  const rest = [sleep(4004), sleep(1)];
  await within(Promise.all([...slow, ...rest]), 'answers');
  assert.equal(order.shift(), 'you have too many pending requests');
  assert.deepEqual(order.sort(), [4000, 4001, 4002, 4003, 4004]);
});

test('it finds the cluster again after a reload, and after a worker has died', async () => {
  const { client, details, ask, coming } = await connectBrowser();
  const reloaded = coming('reconnect');

  await reload();
  await reloaded;
  assert.notEqual((await ask('detailsView')).data.id, details.data.id);

  const { pid } = await ask('action', 'status');
  const returned = coming('reconnect');

  process.kill(pid, 'SIGKILL');
  await returned;
  assert.notEqual((await ask('action', 'status')).pid, pid);
});

test('without a connection it asks over HTTP', async () => {
  // What it uses of a browser's.
  class XMLHttpRequest {
    open(method, url) { this.request = { method, url }; }
    setRequestHeader(name, value) { this.request.headers = { [name]: value }; }
    async send(body) {
      const { url, ...options } = this.request;
      const answer = await fetch(url, { ...options, body });

      Object.assign(this, { readyState: 4, status: answer.status, responseText: await answer.text() });
      this.onreadystatechange();
    }
  }
  const Client = browserClient(server.url, { Primus: PrimusClient, XMLHttpRequest });
  const client = new Client({ url: server.url });
  const answer = await within(new Promise((resolve) =>
    client.action('cacheTest', { key: 'key', value: 'value' }, resolve)), 'answer');

  assert.equal(answer.cacheTestResults.loadResp.value, 'value');
  assert.equal(answer.requesterInformation.receivedParams.key, 'key');
});

// ---- its client for TCP ----

async function connectNode() {
  const client = new ActionheroNodeClient();
  const said = new Promise((resolve) => client.once('welcome', resolve));

  client.on('error', () => {});
  leavers.push(() => {
    client.connected = null; // it does not come back
    client.connection.destroy();
  });
  await within(client.connect({ ...server.tcp, timeout: 5000, reconnectTimeout: 100, reconnectAttempts: 300 }),
    'connection');
  return { client, welcome: await within(said, 'welcome') };
}

test('actionhero-client works as it is', async () => {
  const { client, welcome: said } = await connectNode();

  assert.equal(said, welcome);
  assert.equal(client.details.status, 'OK');
  assert.equal((await client.paramAdd('key', 'sticky')).data.status, 'OK');
  assert.equal((await client.paramAdd('value', 'stays')).data.status, 'OK');
  assert.equal((await client.action('cacheTest')).data.cacheTestResults.loadResp.value, 'stays');
  assert.deepEqual((await client.paramsView()).data.data, { key: 'sticky', value: 'stays', action: 'cacheTest' });
  assert.equal((await client.paramDelete('key')).data.status, 'OK');
  assert.match((await client.action('cacheTest')).error.message, /key is a required parameter/);
  assert.ok((await client.documentation()).data.data.status);
  const answers = await Promise.all([client.actionWithParams('sleepTest', { sleepDuration: 300 }),
    client.actionWithParams('randomNumber', {})]);
  assert.equal(answers[0].data.sleepDuration, 300);
  assert.ok(answers[0].data.messageCount < answers[1].data.messageCount);
});

test('actionhero-client finds the cluster again after a reload', async () => {
  const { client } = await connectNode();
  const id = client.id;

  await reload();
  const answer = await until(() => client.connected && client.action('status').catch(() => null), 'answer');
  assert.equal(answer.data.nodeStatus, 'Node Healthy');
  assert.notEqual(client.id, id);
});

// ---- rooms ----

// A browser client on each worker.
async function connectBoth() {
  const workerOf = ({ client }) => client.id.slice(client.id.lastIndexOf('.'));
  const first = await connectBrowser();
  const others = [];

  do others.push(await connectBrowser());
  while (others.length < 20 && workerOf(others.at(-1)) === workerOf(first));
  const second = others.pop();

  others.forEach(({ client }) => client.disconnect());
  assert.notEqual(workerOf(first), workerOf(second));
  for (const one of [first, second]) {
    one.said = new Inbox();
    one.client.on('say', (message) => one.said.put(plain(message)));
    one.add = async (method, ...args) => plain(await one.ask(method, ...args));
  }
  return [first, second];
}

test('a room has members on all workers, over WebSocket and TCP', async () => {
  const [first, second] = await connectBoth();
  const { client: third } = await connectNode();
  const said = new Inbox();
  const shape = ({ messageId, ...answer }) => answer;
  const room = 'defaultRoom';

  third.on('say', ({ message, from }) => said.put({ message, from }));
  for (const one of [first, second])
    assert.deepEqual(shape(await one.add('roomAdd', room)), { status: 'OK', context: 'response', data: true });
  assert.deepEqual(shape(await first.add('roomAdd', room)), {
    status: `Error: connection already in this room (${room})`, error: `Error: connection already in this room (${room})`,
    context: 'response', data: {},
  });
  assert.equal((await third.roomAdd(room)).data.data, true);
  assert.deepEqual((await second.add('detailsView')).data.rooms, [room]);

  // Whoever asks sees all.
  const ids = [first.client.id, second.client.id, third.id].sort();
  for (const one of [first, second]) {
    const view = (await one.add('roomView', room)).data;
    assert.deepEqual([view.room, view.membersCount, Object.keys(view.members).sort()], [room, 3, ids]);
    for (const [id, member] of Object.entries(view.members)) assert.equal(member.id, id);
  }
  assert.equal((await third.roomView(room)).data.data.membersCount, 3);

  // Whoever speaks is heard by the others, on whichever worker they are.
  assert.equal((await first.add('say', room, 'from the first')).status, 'OK');
  const { sentAt, ...heard } = await second.said.take();
  assert.deepEqual(heard, { message: 'from the first', room, from: first.client.id, context: 'user' });
  assert.ok(Math.abs(sentAt - Date.now()) < 60000);
  assert.deepEqual(await said.take(), { message: 'from the first', from: first.client.id });
  assert.equal((await third.say(room, 'from the third')).data.status, 'OK');
  for (const one of [first, second]) {
    let message;
    do message = await one.said.take();
    while (message.from === one.client.id);
    assert.equal(message.message, 'from the third');
  }

  // Whoever has left hears nothing, and may say nothing.
  assert.equal((await second.add('roomLeave', room)).status, 'OK');
  assert.equal((await second.add('say', room, 'still here?')).error, `Error: connection not in this room (${room})`);
  assert.equal((await first.add('roomView', room)).data.membersCount, 2);
  assert.equal((await first.add('roomAdd', 'nowhere')).error, 'Error: room does not exist');
});

test('members of a worker that dies are no members any more', async () => {
  const [first, second] = await connectBoth();
  const room = 'defaultRoom';

  for (const one of [first, second]) await one.add('roomAdd', room);
  const { id } = second.client;
  process.kill((await second.ask('action', 'status')).pid, 'SIGKILL');
  const view = await until(async () => {
    const { data } = await first.add('roomView', room);
    return data.members[id] ? null : data;
  }, 'room without the member that has gone');
  assert.ok(view.members[first.client.id]);
});

// ---- files ----

test('a room has members on both workers, over three protocols', async () => {
  const browsers = [];
  const pids = new Set();
  const room = `room of ${process.pid}`;
  const cookie = 'c'.repeat(40);
  const chat = async (params) =>
    (await fetch(`${server.url}/api/chat?${new URLSearchParams(params)}`, {
      headers: { Cookie: `sessionID=${cookie}` },
    })).json();
  const { client: node } = await connectNode();

  assert.equal((await node.actionWithParams('createChatRoom', { name: room })).data.didCreate, true);
  while (pids.size < 2 && browsers.length < 50) {
    const browser = await connectBrowser();
    browsers.push(browser);
    pids.add((await browser.ask('action', 'status')).pid);
    assert.equal((await browser.ask('roomAdd', room)).status, 'OK');
  }
  assert.equal(pids.size, 2);
  const [first] = browsers;
  const members = browsers.length + 1;
  assert.deepEqual(plain((await first.ask('detailsView')).data.rooms), [room]);
  assert.equal((await chat({ method: 'roomAdd', room })).room, room);
  const view = (await first.ask('roomView', room)).data;
  assert.equal(view.membersCount, members);
  assert.ok(view.members[first.client.id].joinedAt);
  const heard = browsers.map(({ coming }) => coming('say'));
  assert.equal((await first.ask('say', room, 'to all of you')).status, 'OK');
  for (const said of await Promise.all(heard))
    assert.deepEqual({ ...plain(said), sentAt: 0 },
      { message: 'to all of you', room, from: first.client.id, context: 'user', sentAt: 0 });
  const answer = first.coming('say');
  assert.equal((await chat({ method: 'say', room, message: 'over HTTP' })).error, undefined);
  assert.equal((await answer).message, 'over HTTP');
  const left = (await chat({ method: 'messages' })).messages;
  assert.deepEqual(left.map(({ message }) => message), ['to all of you', 'over HTTP']);
  browsers.forEach(({ client }) => client.disconnect());
  await until(async () =>
    (await chat({ method: 'roomView', room })).roomStatus.membersCount === 1, 'leave');
  await node.disconnect();
});

test('files come over WebSocket, and nothing that is none', async () => {
  const client = await connectSocket(`${server.url}/ws`);
  const ask = (file) => client.ask({ event: 'file', file, messageId: 1 });

  await client.take();
  const { lastModified, ...simple } = await ask('simple.html');
  assert.deepEqual(simple,
    { content: '<h1>"hello"</h1>\n', mime: 'text/html', length: 17, context: 'response', messageId: 1 });
  assert.match(lastModified, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Math.abs(Date.parse(lastModified) - Date.now()) < 3600000);
  assert.equal((await ask('/')).content, '<h1>here</h1>\n');
  // The name is the name: nothing is escaped in it.
  assert.equal((await ask('css/a b%41.css')).mime, 'text/css');
  const got = await ask('large.txt');
  assert.equal(got.content, large);
  assert.equal(got.length, Buffer.byteLength(large));
  const refused = (error) =>
    ({ error, content: null, mime: 'text/html', length: error.length, context: 'response', messageId: 1 });
  for (const name of ['nope', 'css', '../outside.txt', 'css/../simple.html', '/etc/passwd', 'link.txt', '.secret',
    'css//a.css', './simple.html', 'simple.html\0', 'x'.repeat(5000), '%2e%2e/outside.txt', undefined, null, 5, {}])
    assert.deepEqual(await ask(name), refused('that file is not found'));
  assert.deepEqual(await ask('longer.txt'), refused('that file is longer than 1048576 bytes'));
  // As text it would be six times as long.
  assert.deepEqual(await ask('zeros.bin'), refused('that file is longer than 1048576 bytes'));
  // Whoever leaves while a file is read harms nobody.
  for (let i = 0; i < 3; i++) client.send({ event: 'file', file: 'large.txt' });
  client.socket.terminate();
});

test('files come over TCP as they are', async () => {
  const client = connectLines(server.tcp);

  await client.take();
  for (const [name, content] of [['simple.html', '<h1>"hello"</h1>\n'], ['large.txt', large],
    ['zeros.bin', '\0'.repeat(600000)]]) {
    const bytes = client.bytes(Buffer.byteLength(content));

    client.socket.write(`file ${name}\r\n`);
    assert.ok((await bytes).equals(Buffer.from(content)), name);
  }
  for (const name of ['nope', '../outside.txt', 'link.txt', '.secret'])
    assert.equal(await client.ask(`file ${name}`), 'Sorry, that file is not found :(');
  assert.equal(await client.ask('file longer.txt'), 'Sorry, that file is longer than 1048576 bytes :(');
  // What is asked for before a goodbye comes before it.
  const bytes = client.bytes(Buffer.byteLength(large));

  client.socket.end('file large.txt\r\n');
  assert.ok((await bytes).equals(Buffer.from(large)));
  assert.deepEqual(await client.take(), { status: 'Bye!', context: 'api' });
  await client.ended;
});

// ---- who may connect ----

test('a page of another origin connects, but not as who the cookie says', async () => {
  const fingerprint = async (headers) => {
    const client = await connectSocket(`${server.url}/ws`, { headers: { Cookie: 'sessionID=mine', ...headers } });

    await client.take();
    const details = await client.ask({ event: 'detailsView' });
    client.socket.close();
    return details.data.fingerprint;
  };

  assert.equal(await fingerprint({}), 'mine');
  assert.equal(await fingerprint({ Origin: server.url }), 'mine');
  for (const Origin of ['https://evil.example', 'null', `http://${server.host}`, `${server.url}.evil.example`])
    assert.notEqual(await fingerprint({ Origin }), 'mine');
});

test('where origins are listed, pages of others are refused', async () => {
  const other = await startExample(['--origins', 'https://a.example, https://b.example', '--tcp', 'none'],
    { PORT: `${server.host}:8081` });
  const url = `http://${server.host}:8081`;
  const statusOf = async (headers) => {
    try {
      const client = await connectSocket(`${url}/primus`, { headers });
      client.socket.close();
      return 101;
    } catch (error) {
      return Number(/Unexpected server response: (\d+)/.exec(error.message)?.[1]);
    }
  };

  try {
    for (const headers of [{}, { Origin: url }, { Origin: 'https://a.example' }, { Origin: 'https://b.example' }])
      assert.equal(await statusOf(headers), 101);
    for (const Origin of ['https://c.example', 'http://a.example', 'null'])
      assert.equal(await statusOf({ Origin }), 403);
    const answer = await fetch(`${url}/api/status`, { headers: { Origin: 'https://b.example' } });
    assert.equal(answer.headers.get('access-control-allow-origin'), 'https://b.example');
  } finally {
    assert.equal(await other.stop(), 0);
  }
});

test('a worker with all the connections it may have leaves others waiting', async () => {
  const other = await startExample(['--max-connections', '1', '--workers', '1'],
    { PORT: `${server.host}:8082`, TCP_PORT: `${server.host}:5002`, WORKERS: '' });

  try {
    const tcp = { host: server.host, port: 5002 };
    const first = connectLines(tcp);
    await first.take();
    const second = connectLines(tcp);
    let came = false;
    const hello = second.take().then(() => { came = true; });

    for (let i = 0; i < 20; i++) await first.ask('status');
    assert.equal(came, false);
    first.socket.destroy();
    await hello;
    // HTTP's address has a number of its own, WebSockets among it.
    const socket = await connectSocket(`http://${server.host}:8082/ws`);
    let answered = false;
    const answer = fetch(`http://${server.host}:8082/api/status`).then(() => { answered = true; });

    await socket.take();
    for (let i = 0; i < 20; i++) await socket.ask({ event: 'action', params: { action: 'status' } });
    assert.equal(answered, false);
    socket.socket.close();
    await within(answer, 'answer');
    second.socket.destroy();
  } finally {
    assert.equal(await other.stop(), 0);
  }
});

// ---- what makes no sense ----

test('no message harms a worker', async () => {
  const pids = await pidsOf();

  assert.equal(pids.length, 2);
  for (const path of ['/ws', '/primus']) {
    const client = await connectSocket(`${server.url}${path}`);

    await client.take();
    for (const text of ['null', 'true', '5', '"x"', '[]', 'nope', '{', '{"event":null}', '{"event":{}}',
      '{"event":"action","params":null}', '{"event":"file","file":{}}', '{"event":"say"}'])
      assert.ok((await client.ask(text)).error, text);
    assert.match((await client.ask(Buffer.from([0xff, 0x00, 0x80]))).error, /not JSON/);
    assert.equal((await client.ask(Buffer.from('{"event":"detailsView"}'))).status, 'OK');
    // Half a frame, for good.
    client.socket._socket.write(Buffer.from([0x81, 0xfe, 0x10]));
    client.socket._socket.destroy();
  }
  const lines = connectLines(server.tcp);
  await lines.take();
  for (const line of ['null', '{', '{"action":null}', '{"action":{}}', '\0', '\xff\xfe', '{"params":[]}', 'file nope', 'say'])
    assert.ok(await lines.ask(line));
  lines.socket.write('half a line');
  lines.socket.destroy();
  assert.deepEqual(await pidsOf(), pids);
});

test('quit closes, whichever way it is said', async () => {
  for (const event of ['quit', 'exit']) {
    const client = await connectSocket(`${server.url}/ws`);
    client.send({ event });
    assert.equal((await client.closed).code, 1000);
    const lines = connectLines(server.tcp);
    await lines.take();
    assert.deepEqual(await lines.ask(event), { status: 'Bye!', context: 'api' });
    await lines.ended;
  }
});

// The page of the example: who serves, what it can do, and a room to chat in.
// All that it shows comes from the API itself.

const $ = (id) => document.getElementById(id);

function element(name, text = '', attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const plural = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

// ---- A WebSocket that comes back ----

const socket = {
  current: null,
  waiting: new Map(), // by messageId: who waits for the answer
  last: 0,
  delay: 250,
  server: '', // the worker that holds it
  id: '',

  ask(message) {
    return new Promise((resolve, reject) => {
      if (this.current?.readyState !== WebSocket.OPEN) {
        reject(new Error('not connected'));
        return;
      }
      const messageId = ++this.last;
      this.waiting.set(messageId, { resolve, reject });
      this.current.send(JSON.stringify({ ...message, messageId }));
    });
  },

  open() {
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const made = new WebSocket(`${scheme}//${location.host}/ws`);
    this.current = made;
    made.addEventListener('open', () => {
      this.delay = 250;
      onConnected().catch(() => made.close());
    });
    made.addEventListener('message', ({ data }) => this.take(JSON.parse(data)));
    made.addEventListener('close', () => {
      for (const { reject } of this.waiting.values()) reject(new Error('the connection was closed'));
      this.waiting.clear();
      this.server = '';
      showLink('gone', 'connection lost, trying again');
      // Not all at once, where many come back.
      setTimeout(() => this.open(), this.delay * (0.5 + Math.random()));
      this.delay = Math.min(this.delay * 2, 8000);
    });
  },

  take(message) {
    if (message.context === 'response') {
      this.waiting.get(message.messageId)?.resolve(message);
      this.waiting.delete(message.messageId);
    } else if (message.context === 'user') {
      onSaid(message);
    }
  },
};

function showLink(state, text) {
  $('link').dataset.state = state;
  $('link').textContent = text;
}

async function onConnected() {
  const { data } = await socket.ask({ event: 'detailsView' });
  socket.id = data.id;
  socket.server = data.id.slice(data.id.lastIndexOf('.') + 1);
  showLink('here', `connected to ${socket.server}`);
  await join();
}

// ---- The roll call ----

const answering = { id: '' };

// A peer is drawn once and then changed, so that nothing flickers.
function drawPeer(peer) {
  const id = `peer-${peer.id}`;
  let item = document.getElementById(id);
  if (!item) {
    item = element('li', '', { id });
    item.append(element('span', '', { class: 'dot', 'aria-hidden': 'true' }), element('b', peer.id),
      element('span', '', { class: 'marks' }), element('small'));
    $('peers').append(item);
  }
  const marks = [];
  if (peer.id === answering.id) marks.push('answers');
  if (peer.id === socket.server) marks.push('has your socket');
  item.dataset.state = peer.suspect ? 'suspect' : peer.state;
  item.toggleAttribute('data-answers', peer.id === answering.id);
  item.querySelector('.marks').replaceChildren(...marks.map((mark) => element('div', mark)));
  item.querySelector('small').textContent =
    `${peer.suspect ? 'silent' : peer.state} · ${peer.host} · pid ${peer.pid}`;
  return item;
}

function drawPeers(peers) {
  const drawn = peers.map(drawPeer);
  for (const item of [...$('peers').children]) if (!drawn.includes(item)) item.remove();
  const up = peers.filter((peer) => peer.state === 'up' && !peer.suspect).length;
  $('count').textContent = `${plural(up, 'server')} present`;
}

async function getJson(path) {
  const answer = await fetch(path, { cache: 'no-store' });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

async function callRoll() {
  const began = performance.now();
  const status = await getJson('/api/status');
  $('took').textContent = `${(performance.now() - began).toFixed(1)} ms`;
  answering.id = status.id;
  $('requests').textContent = status.requests.toLocaleString('en');
  $('memory').textContent = `${status.consumedMemoryMB.toFixed(1)} MB`;
  $('uptime').textContent = duration(status.uptime);
  drawPeers((await getJson('/api/showPeers')).peers);
}

async function keepCalling() {
  if (!document.hidden) {
    try {
      await callRoll();
    } catch {
      $('count').textContent = 'nobody answers';
    }
  }
  setTimeout(keepCalling, 2000);
}

// ---- Actions ----

let actions = {}; // by name: the highest version

const chosen = () => actions[$('name').value];

function drawInput([name, input]) {
  const isLong = input.type === 'object' || input.type === 'array';
  const label = element('label', '', {});
  const field = element(isLong ? 'textarea' : 'input', '', { name, spellcheck: 'false' });
  label.append(element('span', name, input.required ? { class: 'needed' } : {}), field);
  if (input.description) field.title = input.description;
  const hint = [input.type, input.description].filter(Boolean).join(', ');
  field.placeholder = input.default === undefined ? hint : `${JSON.stringify(input.default)} (${hint})`;
  field.required = input.required === true;
  return label;
}

function drawAction() {
  const action = chosen();
  $('described').textContent = action.description;
  $('inputs').replaceChildren(...Object.entries(action.inputs).map(drawInput));
  drawLine();
}

function readParams() {
  const params = {};
  for (const field of $('inputs').querySelectorAll('[name]'))
    if (field.value !== '') params[field.name] = field.value;
  return params;
}

// A number is one, and an object; what is neither is refused by the server, which
// knows best what to say of it.
function typed(params) {
  const { inputs } = chosen();
  return Object.fromEntries(Object.entries(params).map(([name, text]) => {
    if (inputs[name].type === 'string') return [name, text];
    try {
      return [name, JSON.parse(text)];
    } catch {
      return [name, text];
    }
  }));
}

// What does the same in a terminal.
function drawLine() {
  const params = readParams();
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const data = Object.entries(params).map(([key, value]) => ` --data-urlencode ${quoted(`${key}=${value}`)}`);
  $('line').textContent = `curl${data.join('')} ${location.origin}/api/${$('name').value}`;
}

// Each piece in a span of its own: nothing in an answer is ever markup.
function colour(json) {
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/g;
  const parts = [];
  let end = 0;
  for (const match of json.matchAll(token)) {
    parts.push(json.slice(end, match.index));
    const text = match[1] ?? match[0];
    const kind = match[2] ? 'key' : match[1] ? 'text' : 'number';
    parts.push(element('span', text, { class: kind }), match[2] ?? '');
    end = match.index + match[0].length;
  }
  return [...parts, json.slice(end)];
}

function showOutcome(kind, text) {
  $('outcome').dataset.kind = kind;
  $('outcome').textContent = text;
}

async function runOverHttp(name, params) {
  const answer = await fetch(`/api/${encodeURIComponent(name)}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(params),
  });
  return { status: answer.status, isGood: answer.ok, body: await answer.json() };
}

async function runOverSocket(name, params) {
  const body = await socket.ask({ event: 'action', params: { ...params, action: name } });
  return { status: body.error === undefined ? 'OK' : 'error', isGood: body.error === undefined, body };
}

async function runAction(event) {
  event.preventDefault();
  const isSocket = $('action').elements.over.value === 'socket';
  const began = performance.now();
  $('run').disabled = true;
  showOutcome('', 'running');
  try {
    const run = isSocket ? runOverSocket : runOverHttp;
    const { status, isGood, body } = await run($('name').value, typed(readParams()));
    showOutcome(isGood ? 'good' : 'bad', `${status} in ${(performance.now() - began).toFixed(1)} ms`);
    $('answer').replaceChildren(...colour(JSON.stringify(body, null, 2)));
  } catch (error) {
    showOutcome('bad', `no answer: ${error.message}`);
  }
  $('run').disabled = false;
}

async function listActions() {
  const { documentation } = await getJson('/api/showDocumentation');
  actions = Object.fromEntries(Object.entries(documentation).map(([name, versions]) =>
    [name, versions[Math.max(...Object.keys(versions).map(Number))]]));
  $('name').replaceChildren(...Object.keys(actions).sort().map((name) => element('option', name)));
  if (actions.randomNumber) $('name').value = 'randomNumber';
  drawAction();
}

async function keepListing() {
  try {
    await listActions();
  } catch {
    setTimeout(keepListing, 2000);
  }
}

// ---- The chat ----

const room = 'defaultRoom';
const names = new Map(); // of members, as their messages say
let isMember = false;
let isGreeted = false;

const nameOf = (id) => names.get(id) ?? `guest ${id.slice(0, 4)}`;

function addToLog(item) {
  const log = $('log');
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(item);
  while (log.children.length > 200) log.firstChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function addNews(text) {
  addToLog(element('li', text, { 'data-news': '' }));
}

// "Ann: hello" is said by Ann; others than pages may say what they like.
function onSaid({ message, from, sentAt }) {
  const text = typeof message === 'string' ? message : JSON.stringify(message);
  const colon = text.indexOf(': ');
  const isNamed = colon > 0 && colon <= 24;
  if (isNamed) names.set(from, text.slice(0, colon));
  const item = element('li', '', from === socket.id ? { 'data-self': '' } : {});
  const time = new Date(sentAt).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  item.append(element('small', `${nameOf(from)} · ${time}`), isNamed ? text.slice(colon + 2) : text);
  addToLog(item);
  drawMembers();
}

async function join() {
  isMember = false;
  const answer = await socket.ask({ event: 'roomAdd', room });
  if (answer.error && !/already in/.test(answer.error)) {
    $('room').textContent = answer.error;
    return;
  }
  isMember = true;
  if (!isGreeted) addNews('You are in the room, as everybody is, whichever worker holds your connection.');
  isGreeted = true;
  await drawMembers();
}

let known = {};

async function drawMembers() {
  if (!isMember) return;
  const { data } = await socket.ask({ event: 'roomView', room });
  if (data?.members) known = data.members;
  $('room').textContent = `${plural(Object.keys(known).length, 'member')} of “${room}”`;
  $('members').replaceChildren(...Object.keys(known).map((id) => {
    const isSelf = id === socket.id;
    return element('li', isSelf ? `${$('who').value || nameOf(id)} (you)` : nameOf(id), isSelf ? { 'data-self': '' } : {});
  }));
}

async function keepDrawingMembers() {
  await drawMembers().catch(() => {}); // it is drawn again when connected
  setTimeout(keepDrawingMembers, 3000);
}

async function say(event) {
  event.preventDefault();
  const text = $('text').value.trim();
  const who = $('who').value.trim();
  if (text === '' || who === '') return;
  try {
    const answer = await socket.ask({ event: 'say', room, message: `${who}: ${text}` });
    if (answer.error) addNews(answer.error);
    else $('text').value = '';
  } catch (error) {
    addNews(`That was not sent: ${error.message}.`);
  }
}

// Storage may be switched off.
function remember(name) {
  try {
    if (name !== undefined) localStorage.setItem('name', name);
    return localStorage.getItem('name');
  } catch {
    return null;
  }
}

// ---- All of it ----

$('who').value = remember() ?? `guest${Math.floor(Math.random() * 900 + 100)}`;
$('who').addEventListener('change', () => remember($('who').value));
$('name').addEventListener('change', drawAction);
$('inputs').addEventListener('input', drawLine);
$('action').addEventListener('submit', runAction);
$('say').addEventListener('submit', say);
$('copy').addEventListener('click', async () => {
  try {
    await navigator.clipboard.writeText($('line').textContent);
    $('copy').textContent = 'Copied';
  } catch {
    $('copy').textContent = 'Not allowed';
  }
  setTimeout(() => { $('copy').textContent = 'Copy'; }, 1500);
});

socket.open();
keepListing();
keepCalling();
keepDrawingMembers();

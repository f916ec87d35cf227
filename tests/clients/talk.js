// What tests of clients that stay connected have in common.
import net from 'node:net';
import WebSocket from 'ws';

const deadline = 30000;

export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} in time`)), deadline);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Asks again, until the answer is one.
export async function until(ask, what) {
  const end = Date.now() + deadline;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`no ${what} in time`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// What comes, in its order, to be waited for one by one.
export class Inbox {
  #items = [];
  #takers = [];
  #isOver = false;

  put(item) {
    const taker = this.#takers.shift();
    if (taker) taker.resolve(item);
    else this.#items.push(item);
  }

  get isEmpty() {
    return this.#items.length === 0;
  }

  // Nothing comes any more.
  end() {
    this.#isOver = true;
    this.#takers.forEach(({ reject }) => reject(new Error('the connection is closed')));
  }

  take() {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    if (this.#isOver) return Promise.reject(new Error('the connection is closed'));
    return within(new Promise((resolve, reject) => this.#takers.push({ resolve, reject })), 'answer');
  }
}

// A WebSocket; its inbox holds the texts of messages.
export async function connectSocket(url, options = {}, inbox = new Inbox()) {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), options);
  const closed = new Promise((resolve) =>
    socket.on('close', (code, reason) => {
      inbox.end();
      resolve({ code, reason: String(reason) });
    }));
  socket.on('message', (data) => inbox.put(String(data)));
  await within(new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
  }), 'connection');
  const send = (message) =>
    socket.send(typeof message === 'object' && !Buffer.isBuffer(message) ? JSON.stringify(message) : message);
  return {
    socket,
    inbox,
    send,
    get closed() { return within(closed, 'close'); },
    take: async () => JSON.parse(await inbox.take()),
    async ask(message) {
      send(message);
      return JSON.parse(await inbox.take());
    },
  };
}

// Lines over TCP; `bytes` tells all that came since it was last asked.
export function connectLines({ host, port }, inbox = new Inbox()) {
  const socket = net.connect(port, host);
  let rest = Buffer.alloc(0);
  let wanted = null;
  const look = () => {
    if (wanted) {
      if (rest.length < wanted.length) return;
      wanted.resolve(rest.subarray(0, wanted.length));
      rest = rest.subarray(wanted.length);
      wanted = null;
    }
    for (let end; !wanted && (end = rest.indexOf('\r\n')) >= 0; rest = rest.subarray(end + 2))
      inbox.put(rest.subarray(0, end).toString());
  };
  socket.on('data', (data) => {
    rest = Buffer.concat([rest, data]);
    look();
  });
  const ended = new Promise((resolve) => {
    socket.on('end', resolve);
    socket.on('error', resolve);
  });
  return {
    socket,
    inbox,
    get ended() { return within(ended, 'end'); },
    take: async () => JSON.parse(await inbox.take()),
    async ask(line) {
      socket.write(`${line}\r\n`);
      return JSON.parse(await inbox.take());
    },
    // What comes next is no line, but that many bytes.
    bytes(length) {
      return within(new Promise((resolve) => {
        wanted = { length, resolve };
        look();
      }), `${length} bytes`);
    },
  };
}

'use strict';
// messages.js MODE SECONDS: what messages.c does, on Node's cluster, with its
// default serialization (JSON).
const cluster = require('node:cluster');
const fs = require('node:fs');
const net = require('node:net');

const WARM_MS = 500;
const BATCH = 1000;
const [mode, seconds] = process.argv.slice(2);
const content = 'x'.repeat(98); // 100 bytes with the quotes
let peer = process; // whom this process sends to

// ---- The receiver's clock ----------------------------------------------

let received = 0;
let started;

function count() {
  received++;
  if (started !== undefined)
    return;
  started = 0n;
  setTimeout(() => {
    fs.writeSync(1, 'start\n');
    received = 0;
    started = process.hrtime.bigint();
    setTimeout(finish, Number(seconds) * 1000);
  }, WARM_MS);
}

function finish() {
  const elapsed = Number(process.hrtime.bigint() - started) / 1e9;
  say(received, elapsed);
}

function say(count, elapsed) {
  fs.writeSync(1, `done ${count} ${elapsed.toFixed(6)}\n`);
  try {
    fs.readSync(0, Buffer.alloc(1)); // until what it cost has been looked at
  } finally {
    process.exit(0);
  }
}

// ---- Sending ---------------------------------------------------------------

function sendMany() {
  if (!peer.connected)
    return; // the other side has measured enough
  for (let i = 1; i < BATCH; i++)
    peer.send(content);
  peer.send(content, (error) => {
    if (!error)
      setImmediate(sendMany);
  });
}

// A socket can be sent once, so they are made beforehand, and only the time
// from the first send to the last arrival counts.
function sendSockets() {
  const ends = [];
  let sent = 0n;
  let passed = 0;
  let spent = 0n;
  let begun = 0n;
  const limit = BigInt(Math.round(Number(seconds) * 1e9));

  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    ends.push(socket);
    if (ends.length < BATCH)
      return;
    sent = process.hrtime.bigint();
    for (const end of ends.splice(0))
      peer.send(content, end);
  });
  const connect = () => {
    for (let i = 0; i < BATCH; i++)
      net.connect(server.address().port, '127.0.0.1').on('error', () => {});
  };
  peer.on('message', () => {
    const now = process.hrtime.bigint();
    if (begun === 0n) { // the first batch is the warm-up
      begun = now;
      fs.writeSync(1, 'start\n');
    } else {
      spent += now - sent;
      passed += BATCH;
    }
    if (spent < limit && now - begun < limit * 3n) {
      connect();
      return;
    }
    say(passed, Number(spent) / 1e9);
  });
  server.listen(0, '127.0.0.1', 4096, connect);
}

// ---- The two roles ----------------------------------------------------------

if (cluster.isPrimary) {
  const worker = cluster.fork();
  peer = worker.process;
  peer.on('error', () => {}); // what was on its way when it ended
  worker.on('error', () => {});
  worker.on('exit', () => process.exit(0));
  worker.on('online', () => {
    if (mode === 'down')
      sendMany();
    else if (mode === 'descriptors')
      sendSockets();
    else
      for (let i = 0; i < (mode === 'ping64' ? 64 : 1); i++)
        worker.send(content);
  });
  if (mode !== 'descriptors')
    worker.on('message', () => {
      count();
      if (mode !== 'up')
        worker.send(content);
    });
} else {
  let sockets = 0;
  process.on('message', (message, socket) => {
    if (mode === 'up') {
      sendMany();
    } else if (mode === 'down') {
      count();
    } else if (mode === 'descriptors') {
      socket.destroy();
      if (++sockets % BATCH === 0)
        process.send('all');
    } else {
      process.send(message);
    }
  });
  process.on('disconnect', () => process.exit(0));
}

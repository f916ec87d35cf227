'use strict';
// http.js PORT WORKERS rr|none|single: what hello.c does, on Node's cluster.
const cluster = require('node:cluster');
const http = require('node:http');

const [port, workers, policy] = process.argv.slice(2);

function reply(response, body) {
  response.writeHead(200, {
    'Content-Type': 'text/plain',
    'Content-Length': body.length, // else the answer would be chunked
  }).end(body);
}

function answer(request, response) {
  if (request.url === '/worker') {
    reply(response, `${cluster.worker.id}\n`);
    return;
  }
  if (request.url.startsWith('/block')) {
    const ms = Number(new URL(request.url, 'http://x').searchParams.get('ms'));
    // Sleeps, like nanosleep: the event loop stands still, the core is free.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  }
  reply(response, 'hello, world\n');
}

if (policy === 'single' || cluster.isWorker) {
  http.createServer({ keepAliveTimeout: 60000 }, answer)
    .listen(Number(port), '127.0.0.1');
} else {
  cluster.schedulingPolicy =
    policy === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  cluster.on('listening', (worker) =>
    console.log(`listening ${worker.process.pid}`));
  cluster.on('exit', (worker) => {
    console.log(`exit ${worker.process.pid}`);
    cluster.fork();
  });
  process.on('SIGTERM', () => process.exit(0));
  for (let i = 0; i < Number(workers); i++)
    cluster.fork();
}

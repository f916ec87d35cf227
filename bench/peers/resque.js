// Tasks on node-resque: node resque.js SOCKET COUNT AT_ONCE
// Prints how many are enqueued and run in a second, as bench/tasks does.
"use strict";

const Redis = require("ioredis");
const { Queue, Worker } = require("node-resque");

const [socket, count, atOnce] = process.argv.slice(2);
const params = {
  to: "somebody@example.org",
  text: "about as long as tasks are, mostly",
};

// Where one task is as good as another, its class runs them all.
let runs = 0;
const jobs = { nothing: { perform: async () => void runs++ } };
const connection = () => ({ redis: new Redis(socket), namespace: "resque" });

async function main() {
  const queue = new Queue({ connection: connection() }, jobs);
  await queue.connect();
  let began = process.hrtime.bigint();
  const rate = (n) => Number((BigInt(n) * 10n ** 9n) / (process.hrtime.bigint() - began));
  for (let done = 0; done < count; done += 1000)
    await Promise.all(
      Array.from({ length: 1000 }, () => queue.enqueue("bench", "nothing", [params]))
    );
  console.log("enqueue", rate(count));
  began = process.hrtime.bigint();
  const workers = [];
  for (let i = 0; i < atOnce; i++) {
    const worker = new Worker(
      { connection: connection(), queues: ["bench"], name: `bench:${i}` },
      jobs
    );
    await worker.connect();
    workers.push(worker);
  }
  began = process.hrtime.bigint();
  for (const worker of workers) worker.start();
  while (runs < count) await new Promise((resolve) => setTimeout(resolve, 5));
  console.log("run", rate(count));
  process.exit(0);
}

main();

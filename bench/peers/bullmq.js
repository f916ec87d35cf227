// Tasks on BullMQ: node bullmq.js SOCKET COUNT AT_ONCE
// Prints how many are enqueued and run in a second, as bench/tasks does.
"use strict";

const { Queue, Worker } = require("bullmq");

const [socket, count, atOnce] = process.argv.slice(2);
const connection = { path: socket, maxRetriesPerRequest: null };
const params = {
  to: "somebody@example.org",
  text: "about as long as tasks are, mostly",
};

async function main() {
  const queue = new Queue("bench", { connection });
  let began = process.hrtime.bigint();
  const rate = (n) => Number((BigInt(n) * 10n ** 9n) / (process.hrtime.bigint() - began));
  for (let done = 0; done < count; done += 1000)
    await queue.addBulk(
      Array.from({ length: 1000 }, () => ({ name: "nothing", data: params }))
    );
  console.log("enqueue", rate(count));
  let runs = 0;
  began = process.hrtime.bigint();
  const worker = new Worker("bench", async () => null, {
    connection,
    concurrency: Number(atOnce),
    removeOnComplete: { count: 1000 },
  });
  await new Promise((resolve) =>
    worker.on("completed", () => ++runs === Number(count) && resolve())
  );
  console.log("run", rate(count));
  process.exit(0);
}

main();

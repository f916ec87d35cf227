// actionHero, in a folder of its own: node actionhero.js rpc COUNT AT_ONCE
//                                     node actionhero.js serve
// rpc: two servers on one Redis; calls of a method on all of them, of which the
// first answer counts, one at a time and AT_ONCE. Prints one JSON object, as
// bench/rpc does. serve: its own action randomNumber, over HTTP and WebSocket.
// REDIS_PORT, PORT, OTHER_PORT and FOLDER are what it is told by.
"use strict";

const { fork } = require("node:child_process");
const path = require("node:path");

process.chdir(process.env.FOLDER); // it writes there
process.env.NODE_ENV = "production";
process.env.LOG_LEVEL = "error";
process.env.projectRoot = path.dirname(require.resolve("actionhero/package.json"));

const { Process, api, config, redis } = require("actionhero");
const [mode, count, atOnce] = process.argv.slice(2);
const args = { name: "a name of some length", number: 12345678 };

function now() {
  return Number(process.hrtime.bigint()) / 1000;
}

async function start(port) {
  config.routes = { get: [{ path: "/randomNumber", action: "randomNumber" }] };
  config.web.port = port;
  config.web.bindIP = "127.0.0.1";
  await new Process().start();
  api.bench = { echo: async (value) => value };
}

function call() {
  return redis.doCluster("api.bench.echo", [args], null, true);
}

async function inARow(times, samples) {
  for (let i = 0; i < times; i++) {
    const since = now();
    const answer = await call();
    if (answer.number !== args.number)
      throw new Error(`answered ${JSON.stringify(answer)}`);
    samples.push(now() - since);
  }
}

async function rate(times, lanes) {
  const samples = [];
  const since = now();
  await Promise.all(Array.from({ length: lanes }, () =>
    inARow(Math.ceil(times / lanes), samples)));
  const spent = now() - since;
  samples.sort((a, b) => a - b);
  return [samples[Math.floor(samples.length / 2)], samples.length / spent * 1e6];
}

async function measure() {
  const other = fork(__filename, ["other"], {
    env: { ...process.env, PORT: process.env.OTHER_PORT },
  });
  await new Promise((resolve) => other.once("message", resolve));
  await start(Number(process.env.PORT));
  await rate(500, 1); // warm
  const [alone] = await rate(Number(count), 1);
  const [, many] = await rate(Number(count), Number(atOnce));
  console.log(JSON.stringify({ p50_us: alone, calls_per_second: many }));
  other.kill("SIGKILL");
  process.exit(0);
}

async function main() {
  if (mode === "rpc")
    return measure();
  await start(Number(process.env.PORT));
  if (mode === "other")
    process.send("up");
  else
    console.log(`listening ${process.pid}`);
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});

// Starts the example as a cluster on addresses of its own, and ends it.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

// A loopback address that no other test uses while this one runs.
const host = `127.${64 + (process.pid >> 16) % 128}.${(process.pid >> 8) & 255}.${process.pid & 255}`;

export async function startExample(args = [], environment = {}) {
  const home = mkdtempSync(join(tmpdir(), 'muster-example-'));
  const child = spawn(process.env.MUSTER_TEST_API, args, {
    env: {
      ...process.env, MUSTER_HOME: home, MUSTER_STORE: '', STORE: '', PORT: `${host}:8080`,
      TCP_PORT: `${host}:5000`, WORKERS: '2', ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal)));
  const said = [];
  await new Promise((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => {
      said.push(line);
      if (line.startsWith('Ctrl-C')) resolve();
    });
    exited.then((code) => reject(new Error(`the example ended with ${code}: ${said.join('\n')}`)));
  });
  return {
    host,
    said,
    url: `http://${host}:8080`,
    tcp: { host, port: 5000 },
    reload: () => child.kill('SIGHUP'),
    async stop() {
      child.kill('SIGTERM');
      const code = await exited;
      rmSync(home, { recursive: true, force: true });
      return code;
    },
  };
}

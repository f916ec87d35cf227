// Starts the server of these tests in a folder of its own, and ends it.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export async function startServer(environment = {}) {
  const home = mkdtempSync(join(tmpdir(), 'muster-clients-'));
  const child = spawn(process.env.MUSTER_TEST_SERVER, {
    env: { ...process.env, MUSTER_HOME: home, MUSTER_STORE: '', ...environment },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal)));
  const line = await Promise.race([
    new Promise((resolve) => createInterface(child.stdout).once('line', resolve)),
    exited.then((code) => `it ended with ${code}`),
  ]);
  const [, web, tcp] = /^ready (\d+) (\d+)$/.exec(line) ?? [];
  if (!web) throw new Error(`the server did not start: ${line}`);
  return {
    web: Number(web),
    tcp: Number(tcp),
    pid: child.pid,
    drain: () => child.kill('SIGUSR1'),
    async stop() {
      child.kill('SIGTERM');
      const code = await exited;
      rmSync(home, { recursive: true, force: true });
      return code;
    },
  };
}

// The document of an API by somebody else's reading of OpenAPI 3.1.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';

const deadline = 20000;

// Asks a program that serves by muster_main(), and ends it.
async function documentOf(program) {
  const home = mkdtempSync(join(tmpdir(), 'muster-clients-'));
  const child = spawn(program, ['--listen', '127.0.0.1:0', '--workers', '1'], {
    env: { ...process.env, MUSTER_HOME: home, MUSTER_STORE: '', TCP_PORT: 'none' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = new Promise((resolve) =>
    child.on('exit', (code, signal) => resolve(code ?? signal)));
  const timer = setTimeout(() => child.kill('SIGKILL'), deadline);
  try {
    const line = await Promise.race([
      new Promise((resolve) => createInterface(child.stdout).once('line', resolve)),
      exited.then((code) => `it ended with ${code}`),
    ]);
    const [, port] = /localhost:(\d+)$/.exec(line) ?? [];
    assert.ok(port, line);
    const answer = await fetch(`http://127.0.0.1:${port}/openapi.json`);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/json');
    return await answer.json();
  } finally {
    child.kill('SIGTERM');
    await exited;
    clearTimeout(timer);
    rmSync(home, { recursive: true, force: true });
  }
}

const programs = { api: process.env.MUSTER_TEST_API, 'one of everything': process.env.MUSTER_TEST_WEB };

for (const [name, program] of Object.entries(programs))
  test(`the document of ${name} is OpenAPI 3.1`, async () => {
    const document = await documentOf(program);
    const validator = new Validator();
    const result = await validator.validate(document);
    assert.deepEqual(result, { valid: true });
    assert.equal(validator.version, '3.1');
    // What a schema does not see: templates have their parameters, ids are unique.
    const ids = new Set();
    for (const [path, operations] of Object.entries(document.paths)) {
      const names = [...path.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]).sort();
      for (const [method, operation] of Object.entries(operations)) {
        assert.ok(!ids.has(operation.operationId), operation.operationId);
        ids.add(operation.operationId);
        const inPath = operation.parameters.filter((parameter) => parameter.in === 'path');
        assert.deepEqual(inPath.map((parameter) => parameter.name).sort(), names, `${method} ${path}`);
        assert.ok(inPath.every((parameter) => parameter.required));
        if (operation.requestBody) assert.ok(Object.keys(operation.requestBody.content).length > 0);
      }
    }
    assert.ok(ids.size > 4);
  });

test('what the validator is given, it looks at', async () => {
  const document = await documentOf(programs.api);
  document.paths['/api/status'].get.parameters = [{ name: 'x', in: 'nowhere' }];
  assert.equal((await new Validator().validate(document)).valid, false);
});

// The example's page, as a browser shows it.
import assert from 'node:assert/strict';
import { execSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { clientSource, primusSource } from './actionhero.js';
import { startExample } from './example.js';

let server;
let browser;

before(async () => {
  server = await startExample();
  browser = await chromium.launch({
    executablePath: execSync('command -v chromium').toString().trim(),
    timeout: 120000,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--no-first-run'],
  });
});
after(async () => {
  await browser?.close();
  assert.equal(await server?.stop(), 0);
});

// A page in a window of its own, with what it complained of.
async function open(options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];

  page.setDefaultTimeout(60000);
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  await page.goto(server.url);
  return { context, page, complaints };
}

// Counts how often its socket was lost, as it may be back at once.
const watchLosses = (page) => page.evaluate(() => {
  const link = document.getElementById('link');
  globalThis.losses = 0;
  new MutationObserver(() => {
    if (link.dataset.state === 'gone') globalThis.losses++;
  }).observe(link, { attributes: true });
});
const hasLost = (page) => page.waitForFunction(() => globalThis.losses > 0);
const connected = (page) => page.waitForSelector('#link[data-state="here"]');

test('the page shows who serves', async () => {
  const { context, page, complaints } = await open();

  await connected(page);
  await page.waitForSelector('#peers li[data-answers]');
  await page.waitForFunction(() => document.getElementById('count').textContent === '2 servers present');
  assert.equal(await page.locator('#peers li[data-state="up"]').count(), 2);
  assert.match(await page.textContent('#link'), /^connected to api-worker-\d+$/);
  assert.match(await page.textContent('#memory'), /^[\d.]+ MB$/);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('an action that is tried shows its answer, over HTTP and WebSocket', async () => {
  const { context, page, complaints } = await open();
  const run = async (kind) => {
    await page.click('#run');
    await page.waitForSelector(`#outcome[data-kind="${kind}"]`);
    return JSON.parse(await page.textContent('#answer'));
  };

  await connected(page);
  await page.selectOption('#name', 'cacheTest');
  await page.fill('#inputs [name="key"]', "it's");
  await page.fill('#inputs [name="value"]', '<b>not bold</b>');
  assert.equal(await page.textContent('#line'),
    `curl --data-urlencode 'key=it'\\''s' --data-urlencode 'value=<b>not bold</b>' ${server.url}/api/cacheTest`);
  const answer = await run('good');
  assert.equal(answer.cacheTestResults.loadResp.value, '<b>not bold</b>');
  assert.equal(answer.requesterInformation.receivedParams.key, "it's");
  assert.equal(await page.locator('#answer b').count(), 0);

  await page.locator('label', { hasText: 'WebSocket' }).click();
  await page.selectOption('#name', 'sleepTest');
  await page.fill('#inputs [name="sleepDuration"]', '10');
  const slept = await run('good');
  assert.equal(slept.sleepDuration, 10);
  assert.equal(slept.context, 'response');
  await page.fill('#inputs [name="sleepDuration"]', 'long');
  assert.match((await run('bad')).error, /sleepDuration/);
  assert.deepEqual(complaints, []);
  await context.close();
});

test('every action is there, and what it needs is asked for', async () => {
  const { context, page } = await open();

  await connected(page);
  const { documentation } = await (await fetch(`${server.url}/api/showDocumentation`)).json();
  assert.deepEqual(await page.locator('#name option').allTextContents(), Object.keys(documentation).sort());
  await page.selectOption('#name', 'validationTest');
  // The browser itself asks for what is required: nothing is sent.
  await page.click('#run');
  assert.equal(await page.locator('#inputs :invalid').count(), 1);
  assert.equal(await page.textContent('#outcome'), '');
  await context.close();
});

test('the page comes back after a reload', async () => {
  const { context, page } = await open();

  await connected(page);
  const { pid } = await (await fetch(`${server.url}/api/status`)).json();
  await watchLosses(page);
  server.reload();
  await hasLost(page);
  await connected(page);
  await page.waitForFunction((old) => !document.getElementById('peers').textContent.includes(`pid ${old}`), pid);
  await context.close();
});

test('two pages chat with each other', async () => {
  const pages = [await open(), await open({ colorScheme: 'dark' })];
  const [ann, ben] = pages.map(({ page }) => page);
  const say = async (page, who, text) => {
    await page.fill('#who', who);
    await page.fill('#text', text);
    await page.click('#say button');
  };
  const hears = (page, who, text) =>
    page.locator('#log li', { hasText: text }).filter({ has: page.locator('small', { hasText: who }) }).waitFor();

  for (const page of [ann, ben]) await page.getByText('2 members of').waitFor();
  await say(ann, 'Ann', 'hello, <i>Ben</i>');
  for (const page of [ann, ben]) await hears(page, 'Ann', 'hello, <i>Ben</i>');
  assert.equal(await ben.locator('#log i').count(), 0);
  assert.equal(await ann.inputValue('#text'), '');
  await say(ben, 'Ben', 'hello, Ann');
  for (const page of [ann, ben]) await hears(page, 'Ben', 'hello, Ann');
  // What one says stands on the other side of the log.
  assert.equal(await ann.locator('#log li[data-self]').count(), 1);
  await ann.locator('#members li', { hasText: 'Ben' }).waitFor();

  // After a reload of the cluster they are still in the room.
  await watchLosses(ann);
  server.reload();
  await hasLost(ann);
  await connected(ann);
  await ann.getByText('2 members of').waitFor();
  await pages[1].context.close();
  await ann.getByText('1 member of').waitFor();
  assert.deepEqual(pages[0].complaints.filter((text) => !/WebSocket/.test(text)), []);
  await pages[0].context.close();
});

test('it fits a phone, and both colour schemes', async () => {
  for (const colorScheme of ['light', 'dark']) {
    const { context, page } = await open({ colorScheme, viewport: { width: 360, height: 720 } });

    await connected(page);
    await page.selectOption('#name', 'enqueueTask');
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
    const [ground, ink] = await page.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.body);
      return [backgroundColor, color].map((text) => text.match(/\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0));
    });
    assert.equal(ground > ink, colorScheme === 'light');
    await context.close();
  }
});

test('the browser client of actionHero works in a browser, and without a connection', async () => {
  const { context, page } = await open({ bypassCSP: true });

  for (const content of [primusSource(), clientSource(server.url)]) await page.addScriptTag({ content });
  const [offline, details, answer] = await page.evaluate(async () => {
    const client = new globalThis.ActionheroWebsocketClient();
    const ask = (method, ...args) => new Promise((resolve) => client[method](...args, resolve));
    const first = await ask('action', 'cacheTest', { key: 'key', value: 'value' });
    const second = await new Promise((resolve, reject) =>
      client.connect((error, value) => (error ? reject(error) : resolve(value))));
    return [first, second, await ask('action', 'status')];
  });
  assert.equal(offline.cacheTestResults.loadResp.value, 'value');
  assert.equal(offline.requesterInformation.receivedParams.key, 'key');
  assert.equal(details.status, 'OK');
  assert.equal(answer.nodeStatus, 'Node Healthy');
  await context.close();
});

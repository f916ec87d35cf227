// actionHero's own browser client, as actionHero hands it out: its file with
// the defaults filled in.
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import vm from 'node:vm';

const Primus = createRequire(import.meta.url)('primus');

export function clientSource(url) {
  const file = new URL('./actionhero/package/client/ActionheroWebsocketClient.js', import.meta.url);
  const defaults = { url, apiPath: '/api', cookieKey: 'sessionID' };

  return readFileSync(file, 'utf8').replace('%%DEFAULTS%%', `return ${JSON.stringify(defaults)}`);
}

// The same outside of a browser; `globals` are those of a page.
export function browserClient(url, globals = {}) {
  const context = vm.createContext({ ...globals });

  vm.runInContext(`${clientSource(url)}\nthis.ActionheroWebsocketClient = ActionheroWebsocketClient;`, context);
  return context.ActionheroWebsocketClient;
}

export const PrimusClient = Primus.createSocket({ transformer: 'websockets' });

// What Primus has for pages.
export function primusSource() {
  const server = new Primus(http.createServer(), { transformer: 'websockets' });
  const source = server.library();

  server.destroy();
  return source;
}

// actionHero's own browser client, as actionHero hands it out: its file with
// the defaults filled in. `globals` are those of the page.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import vm from 'node:vm';

export const clientFile = () =>
  readFileSync(new URL('./actionhero/package/client/ActionheroWebsocketClient.js', import.meta.url), 'utf8');

export function browserClient(url, globals = {}) {
  const context = vm.createContext({ ...globals });
  const defaults = { url, apiPath: '/api', cookieKey: 'sessionID' };
  const source = clientFile().replace('%%DEFAULTS%%', `return ${JSON.stringify(defaults)}`);

  vm.runInContext(`${source}\nthis.ActionheroWebsocketClient = ActionheroWebsocketClient;`, context);
  return context.ActionheroWebsocketClient;
}

export const PrimusClient = createRequire(import.meta.url)('primus').createSocket({ transformer: 'websockets' });

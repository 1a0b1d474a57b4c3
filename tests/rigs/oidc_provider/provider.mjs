// A real OpenID provider on loopback, with switches for the faults that an issuer can have.
// It prints one line of JSON with its issuer, and ends when its standard input does.
//
// Switches (POST): /__reset, /__rotate (a new key first), /__retire (only the newest key stays),
// /__jwks/{ok,slow,down,reset,huge,html,redirect}, /__discovery/{ok,issuer,host,insecure},
// /__shape/{plain,okta,keycloak}: what its tokens look like; the issuer then is /oauth2/default or /realms/corp below it.
// GET /__asked: how often key set and discovery document were asked for.

import http from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const SLOW_MS = 20_000; // longer than anybody should wait for a key set

const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const state = { keys: [], provider: null, jwks: 'ok', discovery: 'ok', shape: 'plain', asked: { jwks: 0, discovery: 0 }, made: 0 };

const places = { plain: '', okta: '/oauth2/default', keycloak: '/realms/corp' };
const shapes = {
  plain: (parts) => parts,
  okta: ({ header, payload: { client_id: cid, scope, ...payload } }) => ({
    header: { ...header, typ: undefined },
    payload: { ...payload, ver: 1, cid, uid: '00uann', sub: 'ann@corp.example', scp: scope.split(' '), groups: ['Staff'] },
  }),
  keycloak: ({ header, payload: { client_id: azp, roles, ...payload } }) => ({
    header: { ...header, typ: 'JWT' },
    payload: {
      ...payload, azp, typ: 'Bearer', aud: [payload.aud, 'account'],
      realm_access: { roles: ['offline_access'] }, resource_access: { 'my.client': { roles } },
    },
  }),
};

async function newKeys() {
  state.made += 1;
  return Promise.all(['RS256', 'ES256'].map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `${alg}-${state.made}` };
  }));
}

function build() {
  const provider = new Provider(issuer, {
    jwks: { keys: state.keys.flat() },
    clients: [
      {
        client_id: 'service',
        client_secret: 'service-secret-of-the-rig-0123456789',
        grant_types: ['client_credentials', 'urn:rig:id_token'],
        redirect_uris: [],
        response_types: [],
      },
      {
        client_id: 'bound',
        client_secret: 'bound-secret-of-the-rig-0123456789',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
        dpop_bound_access_tokens: true,
      },
    ],
    scopes: ['models.predict'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, indicator) => ({
          scope: 'models.predict',
          audience: indicator,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: indicator.endsWith('/es256') ? 'ES256' : 'RS256' } },
        }),
      },
    },
    formats: {
      customizers: {
        jwt: (ctx, token, parts) => {
          const { header, payload } = shapes[state.shape](parts);
          Object.assign(parts, { header, payload: { ...payload, iss: issuer + places[state.shape] } });
        },
      },
    },
    extraTokenClaims: () => ({ roles: ['Analyst'] }),
  });
  provider.registerGrantType('urn:rig:id_token', async (ctx) => {
    const token = new provider.IdToken({ sub: 'alice', nonce: 'n' }, { ctx, client: ctx.oidc.client });
    token.set('sub', 'alice');
    token.set('nonce', 'n');
    ctx.body = { id_token: await token.issue({ use: 'idtoken' }), token_type: 'Bearer' };
  }, ['scope']);
  state.provider = provider.callback();
}

async function reset() {
  Object.assign(state, { keys: [await newKeys()], jwks: 'ok', discovery: 'ok', shape: 'plain', asked: { jwks: 0, discovery: 0 } });
  build();
}

async function command(path) {
  const [, name, value] = path.slice(3).match(/^([a-z]+)(?:\/([a-z]+))?$/) ?? [];
  if (name === 'reset') await reset();
  else if (name === 'rotate') { state.keys.unshift(await newKeys()); build(); }
  else if (name === 'retire') { state.keys.length = 1; build(); }
  else if (['jwks', 'discovery', 'shape'].includes(name)) state[name] = value;
}

function answer(res, status, type, body) {
  res.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
  res.end(body);
}

const jwksFaults = {
  slow: (req, res) => setTimeout(() => state.provider(req, res), SLOW_MS).unref(),
  down: (req, res) => answer(res, 503, 'text/plain', 'down'),
  reset: (req) => req.socket.resetAndDestroy(),
  huge: (req, res) => answer(res, 200, 'application/json', JSON.stringify({ keys: [{ kty: 'x'.repeat(24_000_000) }] })),
  html: (req, res) => answer(res, 200, 'text/html', '<html>Sign in</html>'),
  redirect: (req, res) => { res.writeHead(302, { Location: `${issuer}/jwks?again` }); res.end(); },
};

function discovery(res) {
  const document = { issuer, jwks_uri: `${issuer}/jwks` };
  if (state.discovery === 'issuer') document.issuer = `${issuer}/`;
  if (state.discovery === 'host') document.jwks_uri = 'https://keys.invalid/jwks';
  if (state.discovery === 'insecure') document.jwks_uri = 'http://keys.invalid/jwks';
  answer(res, 200, 'application/json', JSON.stringify(document));
}

server.on('request', async (req, res) => {
  const path = req.url.split('?')[0];
  if (path === '/__asked') return answer(res, 200, 'application/json', JSON.stringify(state.asked));
  if (path.startsWith('/__')) { await command(path); return answer(res, 200, 'text/plain', 'done'); }
  if (state.shape !== 'plain' && path === `${places[state.shape]}/.well-known/openid-configuration`) {
    const document = { issuer: issuer + places[state.shape], jwks_uri: `${issuer}/jwks` };
    return answer(res, 200, 'application/json', JSON.stringify(document));
  }
  if (path === '/jwks') {
    state.asked.jwks += 1;
    if (state.jwks !== 'ok') return jwksFaults[state.jwks](req, res);
  }
  if (path === '/.well-known/openid-configuration') {
    state.asked.discovery += 1;
    if (state.discovery !== 'ok') return discovery(res);
  }
  return state.provider(req, res);
});

await reset();
console.log(JSON.stringify({ issuer }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

// The same provider in the shape of Entra ID, over TLS, for its real client library, and Microsoft Graph's one answer.
// `node entra.mjs CERTIFICATE KEY`. It prints one line of JSON with its address, and ends when its standard input does.
//
// Switches (POST): /__reset, /__shape/{app,user,overage,guest,neither,other}, /__version/{one,two},
// /__keys/{template,tenant,other,none} (the `issuer` of its keys), /__graph/{ok,down,many,html,odd,empty,slow}.
// GET /__asked: how often tokens, key sets and groups were asked for.

import fs from 'node:fs';
import https from 'node:https';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

export const TENANT = '11111111-aaaa-bbbb-cccc-222222222222';
const OTHER_TENANT = '99999999-aaaa-bbbb-cccc-222222222222';
const OID = '33333333-aaaa-bbbb-cccc-444444444444';
const API = '55555555-aaaa-bbbb-cccc-666666666666';
const CLIENT = '77777777-aaaa-bbbb-cccc-888888888888';
const GROUP = 'aaaaaaaa-aaaa-bbbb-cccc-aaaaaaaaaaaa';

const [, , certificate, key] = process.argv;
const server = https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) });
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const host = `https://localhost:${server.address().port}`;
const prefix = `/${TENANT}/v2.0`;

const { privateKey } = await generateKeyPair('RS256', { extractable: true });
const jwk = { ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: 'entra-1' };
const fresh = () => ({
  shape: 'app', version: 'two', keys: 'template', graph: 'ok', asked: { token: 0, keys: 0, graph: 0, steal: 0 },
});
let state = fresh();

const shapes = {
  app: { roles: ['Model.Infer'], idtyp: 'app', sub: OID },
  user: { scp: 'infer', roles: ['Analyst'], groups: [GROUP], name: 'Ann', preferred_username: 'ann@contoso.example' },
  overage: {
    scp: 'infer',
    _claim_names: { groups: 'src1' },
    _claim_sources: { src1: { endpoint: `${host}/steal` } },
  },
  guest: { scp: 'infer', acct: 1 },
  neither: { sub: OID },
  other: { scp: 'infer', tid: OTHER_TENANT, iss: `${host}/${OTHER_TENANT}/v2.0` },
};

function reshape(payload) {
  const one = state.version === 'one';
  const { iat, exp } = payload;
  return {
    aud: API, iss: one ? `${host}/${TENANT}/` : host + prefix, iat, nbf: iat, exp,
    oid: OID, sub: 'pairwise', tid: TENANT, uti: 'uti', ver: one ? '1.0' : '2.0',
    [one ? 'appid' : 'azp']: payload.client_id, [one ? 'appidacr' : 'azpacr']: '1',
    ...shapes[state.shape],
  };
}

const provider = new Provider(host + prefix, {
  jwks: { keys: [jwk] },
  clients: [{
    client_id: CLIENT,
    client_secret: 'entra-secret-of-the-rig-0123456789',
    token_endpoint_auth_method: 'client_secret_post',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  }],
  scopes: [`${API}/.default`, `${host}/.default`],
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:the:api',
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: `${API}/.default ${host}/.default`,
        audience: API,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  formats: {
    customizers: {
      jwt: (ctx, token, parts) => {
        parts.header = { ...parts.header, typ: 'JWT' };
        parts.payload = reshape(parts.payload);
      },
    },
  },
});
const callback = provider.callback();

function answer(res, status, document, type = 'application/json') {
  const body = typeof document === 'string' ? document : JSON.stringify(document);
  res.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
  res.end(body);
}

function publishedKey() {
  const { kty, n, e, use, kid } = jwk;
  const issuers = {
    template: `${host}/{tenantid}/v2.0`, tenant: host + prefix, other: `${host}/${OTHER_TENANT}/v2.0`, none: undefined,
  };
  return { kty, n, e, use, kid, issuer: issuers[state.keys] };
}

function graph(req, res) {
  state.asked.graph += 1;
  if (state.graph === 'down') return answer(res, 503, { error: { code: 'serviceNotAvailable' } });
  if (state.graph === 'slow') return undefined;
  if (state.graph === 'odd') return answer(res, 200, { value: [GROUP, 'Domain Admins'] });
  if (state.graph === 'empty') return answer(res, 200, {});
  if (state.graph === 'html') return answer(res, 200, '<html>', 'text/html');
  if (!/^Bearer [\w-]+\.[\w-]+\.[\w-]+$/.test(req.headers.authorization ?? '')) return answer(res, 401, {});
  if (state.graph === 'many') {
    return answer(res, 400, { error: { code: 'Directory_ResultSizeLimitExceeded' } });
  }
  return answer(res, 200, { value: [GROUP] });
}

const documents = {
  '/common/v2.0/.well-known/openid-configuration': () => ({
    issuer: `${host}/{tenantid}/v2.0`, jwks_uri: `${host}/common/discovery/v2.0/keys`,
  }),
  [`/${TENANT}/.well-known/openid-configuration`]: () => ({
    issuer: `${host}/${TENANT}/`, jwks_uri: `${host}/common/discovery/keys`,
  }),
  '/__asked': () => state.asked,
};

function command(path) {
  const [, name, value] = path.slice(3).match(/^([a-z]+)(?:\/([a-z]+))?$/) ?? [];
  if (name === 'reset') state = fresh();
  else if (value !== undefined && typeof state[name] === 'string') state[name] = value;
}

server.on('request', (req, res) => {
  const path = req.url.split('?')[0];
  if (documents[path]) return answer(res, 200, documents[path]());
  if (path.startsWith('/__')) { command(path); return answer(res, 200, 'done', 'text/plain'); }
  if (path.endsWith('/keys') || path === `${prefix}/jwks`) {
    state.asked.keys += 1;
    return answer(res, 200, { keys: [publishedKey()] });
  }
  if (path === '/steal') state.asked.steal += 1;
  if (path.endsWith('/getMemberGroups')) { req.resume(); return graph(req, res); }
  if (path === `/${TENANT}/oauth2/v2.0/token`) req.url = req.url.replace(path, `${prefix}/token`);
  if (!req.url.startsWith(`${prefix}/`)) return answer(res, 404, {});
  if (req.url.startsWith(`${prefix}/token`)) state.asked.token += 1;
  req.originalUrl = req.url;
  req.url = req.url.slice(prefix.length);
  return callback(req, res);
});

console.log(JSON.stringify({ issuer: host }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

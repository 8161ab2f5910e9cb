// An OpenID provider for tests: `node provider.mjs FOLDER PORT`, over TLS on loopback alone.
// FOLDER has server.pem, server.key, ca.pem, and settings.json with what depends on keys of the tests:
// {"encryptionKey": JWK, "clientKey": JWK} (public halves). Signing keys are made afresh at each start, and all that was
// issued is forgotten with the process.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider, errors } from 'oidc-provider';

const [folder, port] = process.argv.slice(2);
const read = (name) => readFileSync(join(folder, name));
const { encryptionKey, clientKey } = JSON.parse(read('settings.json'));

const SCOPE = 'read write';
const SECONDS = 120;

async function signingKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: 'sig' };
}

const signed = (alg) => ({ accessTokenFormat: 'jwt', jwt: { sign: { alg } } });
const resources = {
  'https://api.example/es256': signed('ES256'),
  'https://api.example/rs256': signed('RS256'),
  'https://api.example/ed25519': signed('Ed25519'),
  'https://api.example/opaque': { accessTokenFormat: 'opaque' },
  'https://api.example/nested': {
    accessTokenFormat: 'jwt',
    jwt: {
      sign: { alg: 'ES256' },
      encrypt: { alg: 'ECDH-ES', enc: 'A256GCM', key: encryptionKey, kid: encryptionKey.kid },
    },
  },
};

const asksForTokens = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: SCOPE };
const asksAboutTokens = { ...asksForTokens, grant_types: [] };
const byCertificate = (name) => ({ token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_san_dns: name });
const clients = [
  { client_id: 'shop', client_secret: 's'.repeat(40), ...asksForTokens },
  { client_id: 'shop-dpop', client_secret: 'd'.repeat(40), ...asksForTokens, dpop_bound_access_tokens: true },
  {
    client_id: 'shop-mtls',
    ...asksForTokens,
    ...byCertificate('shop.example'),
    tls_client_certificate_bound_access_tokens: true,
  },
  { client_id: 'api', client_secret: 'a'.repeat(40), ...asksAboutTokens },
  {
    client_id: 'api-signed',
    client_secret: 'i'.repeat(40),
    ...asksAboutTokens,
    introspection_signed_response_alg: 'ES256',
  },
  { client_id: 'api-mtls', ...asksAboutTokens, ...byCertificate('api.example') },
  {
    client_id: 'api-jwt',
    ...asksAboutTokens,
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: { keys: [clientKey] },
  },
];

const peer = (ctx) => ctx.socket.getPeerX509Certificate() ?? undefined;
const provider = new Provider(`https://localhost:${port}`, {
  jwks: { keys: await Promise.all(['ES256', 'RS256', 'Ed25519'].map(signingKey)) },
  clients,
  clientAuthMethods: ['client_secret_basic', 'private_key_jwt', 'tls_client_auth'],
  scopes: SCOPE.split(' '),
  ttl: { ClientCredentials: SECONDS },
  extraTokenClaims: () => ({ tenant: 'acme' }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    encryption: { enabled: true },
    jwtIntrospection: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId.startsWith('api') },
    revocation: { enabled: true, allowedPolicy: (ctx, client, token) => client.clientId === token.clientId },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => false },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      getCertificate: peer,
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_san_dns' && peer(ctx).subjectAltName === `DNS:${expected}`,
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'https://api.example/opaque',
      useGrantedResource: () => true,
      getResourceServerInfo(ctx, resource) {
        if (!(resource in resources)) throw new errors.InvalidTarget();
        return { audience: resource, scope: SCOPE, accessTokenTTL: SECONDS, ...resources[resource] };
      },
    },
  },
});

// A client without a certificate, or with a foreign one, gets as far as the provider, which is to refuse it.
const tls = { key: read('server.key'), cert: read('server.pem'), ca: read('ca.pem') };
createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, provider.callback()).listen(+port, '127.0.0.1');

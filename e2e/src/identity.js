// A real OpenID Connect provider on loopback, with people who sign in there: npm's `oidc-provider`
// behind TLS of an authority of its own.
import { execFile } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import https from 'node:https'
import path from 'node:path'
import { promisify } from 'node:util'

import Provider from 'oidc-provider'

const exec = promisify(execFile)
const BODY_CHARS_MAX = 10_000
const STEPS_MAX = 12

export const CLIENT = { id: 'veritwin', secret: 'a secret/of:the client+' }

/** Who can sign in, by what they type. */
const PEOPLE = {
  ada: { email: 'ada@people.example', email_verified: true, name: 'Ada' },
  again: { email: 'ada@people.example', email_verified: true, name: 'Another Ada' },
  lin: { email: 'Lin@People.Example', email_verified: true, name: 'Lin' },
  unverified: { email: 'lin@people.example', email_verified: false, name: 'Lin' },
  silent: { email: 'lin@people.example', name: 'Lin' },
  foreign: { email: 'ada@elsewhere.example', email_verified: true, name: 'Ada' },
  below: { email: 'ada@sub.people.example', email_verified: true, name: 'Ada' },
  stranger: { email: 'stranger@people.example', email_verified: true, name: 'Stranger' },
}

/** An authority and a certificate for localhost below it, as PEM files. */
async function certificate(folder) {
  const file = (name) => path.join(folder, name)
  const openssl = (...args) => exec('openssl', args)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  await openssl('req', '-x509', ...key, '-days', '2', '-subj', '/CN=Test identity authority',
    '-keyout', file('authority.key'), '-out', file('authority.pem'))
  await openssl('req', ...key, '-subj', '/CN=localhost',
    '-keyout', file('provider.key'), '-out', file('provider.csr'))
  await writeFile(file('extensions'), 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n')
  await openssl('x509', '-req', '-in', file('provider.csr'), '-CA', file('authority.pem'),
    '-CAkey', file('authority.key'), '-CAcreateserial', '-days', '2',
    '-extfile', file('extensions'), '-out', file('provider.pem'))
  const [ca, cert, privateKey] = await Promise.all(
    ['authority.pem', 'provider.pem', 'provider.key'].map((name) => readFile(file(name), 'utf8')),
  )
  return { authority: file('authority.pem'), ca, cert, key: privateKey }
}

function signingKey(algorithm) {
  const kinds = {
    RS256: ['rsa', { modulusLength: 2048 }],
    PS256: ['rsa', { modulusLength: 2048 }],
    ES256: ['ec', { namedCurve: 'P-256' }],
    EdDSA: ['ed25519', {}],
  }
  const { privateKey } = generateKeyPairSync(...kinds[algorithm])
  return { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: algorithm, kid: randomUUID() }
}

async function formOf(request) {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk
    if (text.length > BODY_CHARS_MAX) throw new Error('the form is too long')
  }
  return new URLSearchParams(text)
}

const PAGE = `<!doctype html><html lang="en"><title>Provider</title><h1>Provider</h1>
<form method="post"><label>Login <input name="login" autofocus></label>
<button>Sign in</button></form></html>`

export class Identity {
  /** @param {string} folder a folder of its own */
  static async start(folder) {
    const identity = new Identity()
    const { authority, ca, cert, key } = await certificate(folder)
    Object.assign(identity, { authority, ca })
    identity.server = https.createServer({ key, cert }, (request, response) => {
      identity.#answer(request, response).catch((error) => {
        response.writeHead(500).end(error.message)
      })
    })
    await new Promise((done) => identity.server.listen(0, '127.0.0.1', done))
    identity.port = identity.server.address().port
    return identity
  }

  get issuer() {
    return `https://localhost:${this.port}`
  }

  /** What the provider is; everything known before is forgotten. */
  configure({ redirectUris, algorithm = 'RS256', issuer = this.issuer, method }) {
    this.options = { redirectUris, algorithm, issuer, method }
    this.lie = undefined
    const client = {
      client_id: CLIENT.id,
      client_secret: CLIENT.secret,
      redirect_uris: redirectUris,
      id_token_signed_response_alg: algorithm,
      ...(method && { token_endpoint_auth_method: method }),
    }
    this.provider = new Provider(issuer, {
      clients: [client],
      jwks: { keys: [signingKey(algorithm)] },
      cookies: { keys: [randomUUID()] },
      claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
      conformIdTokenClaims: false,
      enabledJWA: { idTokenSigningAlgValues: [algorithm] },
      ...(method && { clientAuthMethods: [method] }),
      features: { devInteractions: { enabled: false } },
      interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, ...PEOPLE[id] }),
      }),
      // Its own people are not asked for consent.
      loadExistingGrant: async (context) => {
        const grant = new context.oidc.provider.Grant({
          clientId: context.oidc.client.clientId,
          accountId: context.oidc.session.accountId,
        })
        grant.addOIDCScope('openid email profile')
        await grant.save()
        return grant
      },
    })
    this.callback = this.provider.callback()
  }

  /** New keys under new names, as providers do from time to time. */
  rotate() {
    this.configure(this.options)
  }

  /** What the provider says of itself from now on, besides what is true. */
  pretend(lie) {
    this.lie = lie
  }

  async #answer(request, response) {
    const { pathname } = new URL(request.url, this.issuer)
    if (this.lie && pathname.endsWith('/.well-known/openid-configuration')) {
      if (this.lie.redirect) return response.writeHead(302, { location: this.lie.redirect }).end()
      const own = (name) => `${this.issuer}/${name}`
      const truth = {
        issuer: this.issuer,
        authorization_endpoint: own('auth'),
        token_endpoint: own('token'),
        jwks_uri: own('jwks'),
      }
      response.writeHead(200, { 'content-type': 'application/json' })
      return response.end(JSON.stringify({ ...truth, ...this.lie.description }))
    }
    if (pathname === '/favicon.ico') return response.writeHead(204).end()
    if (!pathname.startsWith('/interaction/')) return this.callback(request, response)
    if (request.method !== 'POST') {
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
      return response.end(PAGE)
    }
    const login = (await formOf(request)).get('login') ?? ''
    if (!(login in PEOPLE)) {
      const error = { error: 'access_denied', error_description: 'nobody of that name' }
      return this.provider.interactionFinished(request, response, error)
    }
    const result = { login: { accountId: login, amr: ['pwd', 'mfa'] } }
    return this.provider.interactionFinished(request, response, result)
  }

  /** A person's way through the provider; answers the address that it sends them back to. */
  async walk(address, login) {
    const cookies = new Map()
    let [url, form] = [new URL(address), undefined]
    for (let step = 0; step < STEPS_MAX; step += 1) {
      if (url.origin !== this.issuer) return url.href
      const { status, location } = await this.#ask(url, form, cookies)
      form = undefined
      if (location) url = new URL(location, url)
      else if (status === 200) form = new URLSearchParams({ login }).toString()
      else throw new Error(`${url.pathname} answers ${status}`)
    }
    throw new Error(`more than ${STEPS_MAX} steps`)
  }

  #ask(url, form, cookies) {
    const headers = { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') }
    if (form) headers['content-type'] = 'application/x-www-form-urlencoded'
    return new Promise((done, failed) => {
      const method = form ? 'POST' : 'GET'
      const request = https.request(url, { method, ca: this.ca, headers }, (response) => {
        for (const line of response.headers['set-cookie'] ?? []) {
          const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
          cookies.set(name, value)
        }
        const { statusCode: status, headers: answered } = response
        response.resume().once('end', () => done({ status, location: answered.location }))
      })
      request.once('error', failed).end(form)
    })
  }

  stop() {
    this.server.closeAllConnections()
    return new Promise((done) => this.server.close(done))
  }
}

// Another implementation of JOSE, for tests: a JSON array of requests on standard input, an array of answers on output.
import * as jose from 'jose'

const octets = (text) => new TextEncoder().encode(text)
const text = (octets) => new TextDecoder().decode(octets)

const operations = {
  async sign({ payload, header, jwk }) {
    const key = await jose.importJWK(jwk, header.alg)
    return new jose.CompactSign(octets(payload)).setProtectedHeader(header).sign(key)
  },
  async verify({ token, jwk, algorithm }) {
    const { payload } = await jose.compactVerify(token, await jose.importJWK(jwk, algorithm), {
      algorithms: [algorithm],
    })
    return text(payload)
  },
  async encrypt({ plaintext, header, jwk }) {
    const key = await jose.importJWK(jwk, header.alg)
    return new jose.CompactEncrypt(octets(plaintext)).setProtectedHeader(header).encrypt(key)
  },
  async decrypt({ token, jwk, algorithm, content }) {
    const { plaintext } = await jose.compactDecrypt(token, await jose.importJWK(jwk, algorithm), {
      keyManagementAlgorithms: [algorithm],
      contentEncryptionAlgorithms: [content],
    })
    return text(plaintext)
  },
  thumbprint({ jwk }) {
    return jose.calculateJwkThumbprint(jwk)
  },
}

const chunks = []
for await (const chunk of process.stdin) chunks.push(chunk)
const answers = []
for (const { operation, ...request } of JSON.parse(Buffer.concat(chunks))) {
  try {
    answers.push({ value: await operations[operation](request) })
  } catch (error) {
    answers.push({ error: `${error.code ?? error.name}: ${error.message}` })
  }
}
process.stdout.write(JSON.stringify(answers))

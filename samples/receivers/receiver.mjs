// A receiver of signed notices; it needs Node's own modules alone.
//
// It keeps each notice as a file, named by its id, and answers at once: the work is done by whoever reads that folder.
// Put it behind something that ends TLS. It is told by its environment:
//
//   SIGNING_SECRETS  the keys that are good, whsec_…, with spaces between them
//   AUTHORIZATION    what that header has to say; empty: it is not looked at
//   NOTICES          the folder; default: notices
//   HOST, PORT       where it listens; default: 127.0.0.1 and 9000

import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto'
import { link, mkdir, open, unlink } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'

const TOLERANCE = 300 // seconds that a timestamp may be off
const MOST = 2 ** 21 // bytes of a notice

class Refused extends Error {}

// Takes as long whether they are equal or not.
function same(ours, theirs) {
  const [one, other] = [Buffer.from(ours), Buffer.from(theirs)]
  return one.length === other.length && timingSafeEqual(one, other)
}

// Returns the notice's id; `body` is a Buffer of what came, byte by byte, before anybody parsed it.
function verify(headers, body, keys, now) {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures } = headers
  if (!id || !timestamp || !signatures) throw new Refused('a header is missing')
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(id)) throw new Refused('the id is none') // it becomes a file's name
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE) {
    throw new Refused('the timestamp is not of now')
  }
  for (const key of keys) {
    const mac = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body)
    const ours = `v1,${mac.digest('base64')}`
    for (const theirs of signatures.split(' ')) {
      if (same(ours, theirs)) return id
    }
  }
  throw new Refused('no signature fits')
}

// Writes a notice down, whole or not at all, and says whether it is new.
async function keep(folder, id, body) {
  const draft = join(folder, `.${randomUUID()}`)
  const file = await open(draft, 'wx')
  try {
    await file.writeFile(body)
    await file.sync()
    await link(draft, join(folder, `${id}.json`))
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  } finally {
    await file.close()
    await unlink(draft)
  }
}

async function read(request) {
  const chunks = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length > MOST) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

// What to answer, and what to say of it: 204 when the notice is kept, or was before.
async function take(request) {
  if (request.method !== 'POST') return [405, 'refused: not a POST']
  if (authorization && !same(authorization, request.headers.authorization ?? '')) {
    return [401, 'refused: the authorization is wrong']
  }
  try {
    const body = await read(request)
    if (body === null) return [413, 'refused: too large']
    const id = verify(request.headers, body, keys, Date.now() / 1000)
    return [204, `${(await keep(folder, id, body)) ? 'took' : 'had already'} ${id}`]
  } catch (error) {
    if (error instanceof Refused) return [401, `refused: ${error.message}`]
    return [500, `not kept: ${error.code}`] // it will come again
  }
}

function keyOf(secret) {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  if (key.length === 0 || secret !== `whsec_${key.toString('base64')}`) {
    console.error('SIGNING_SECRETS: each must be whsec_ followed by base64')
    process.exit(1)
  }
  return key
}

const keys = (process.env.SIGNING_SECRETS ?? '').split(/\s+/).filter(Boolean).map(keyOf)
if (keys.length === 0) {
  console.error('SIGNING_SECRETS: name at least one key')
  process.exit(1)
}
const authorization = process.env.AUTHORIZATION ?? ''
const folder = process.env.NOTICES || 'notices'
await mkdir(folder, { recursive: true })

const server = createServer(async (request, response) => {
  const [status, what] = await take(request)
  response.writeHead(status).end()
  console.log(what)
})
server.requestTimeout = 10_000 // ms for a request to arrive
server.listen(Number(process.env.PORT || 9000), process.env.HOST || '127.0.0.1', () => {
  console.log(`listening on port ${server.address().port}`)
})

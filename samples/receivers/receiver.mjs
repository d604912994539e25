// A receiver of signed notifications; it needs only Node's own modules.
//
// It keeps each notification as a file, named by its id, and answers at once. Another program reads that folder and does
// the work.
// Put it behind something that terminates TLS. Its environment variables:
//
//   SIGNING_SECRETS  the accepted keys, whsec_…, separated by spaces
//   AUTHORIZATION    the required value of that header; empty: not checked
//   NOTIFICATIONS    where notifications are stored; default: notifications
//   HOST, PORT       where it listens; default: 127.0.0.1 and 9000

import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto'
import { link, mkdir, open, readdir, rm, unlink } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'

const TOLERANCE = 300 // seconds that a timestamp may be off
const MOST = 2 ** 21 // bytes of a notification
const PATIENCE = 10_000 // ms for a request to arrive

class Refused extends Error {}

// Takes constant time.
function same(ours, theirs) {
  const [one, other] = [Buffer.from(ours), Buffer.from(theirs)]
  return one.length === other.length && timingSafeEqual(one, other)
}

// Returns the notification's id; `body` is a Buffer with the raw request body, before any parsing.
function verify(headers, body, keys, now) {
  const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature']
  const given = names.map((name) => headers[name] ?? []) // of request.headersDistinct: a list for each name
  if (given.some((values) => values.length !== 1)) throw new Refused('a header is missing or repeated')
  const [[id], [timestamp], [signatures]] = given
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(id)) throw new Refused('the id is invalid') // it becomes a file's name
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE) {
    throw new Refused('the timestamp is not current')
  }
  for (const key of keys) {
    const mac = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body)
    const ours = `v1,${mac.digest('base64')}`
    for (const theirs of signatures.split(' ')) {
      if (same(ours, theirs)) return id
    }
  }
  throw new Refused('no signature matches')
}

// Writes a notification to a file atomically, and returns whether it is new.
async function keep(folder, id, body) {
  const draft = join(folder, `.draft-${randomUUID()}`)
  const file = await open(draft, 'wx')
  let fresh = true
  try {
    await file.writeFile(body)
    await file.sync()
    await link(draft, join(folder, `${id}.json`))
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    fresh = false
  } finally {
    await file.close()
    await unlink(draft)
  }
  const place = await open(folder)
  try {
    await place.sync() // or a power failure may lose the name
  } finally {
    await place.close()
  }
  return fresh
}

async function read(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

// The status and a line for the log: 204 if the notification is stored, now or before.
async function take(request) {
  const { 'content-length': length, authorization: given = '' } = request.headers
  if (request.method !== 'POST') return [405, 'refused: not a POST']
  if (length === undefined) return [411, 'refused: send a content-length'] // a chunked request has none either
  if (Number(length) > MOST) return [413, 'refused: too large']
  let body
  try {
    body = await read(request)
  } catch {
    return [400, 'refused: the body did not come whole'] // Node itself has answered: 408 when the time was up
  }
  if (authorization && !same(authorization, given)) return [401, 'refused: the authorization is wrong']
  try {
    const id = verify(request.headersDistinct, body, keys, Date.now() / 1000)
    return [204, `${(await keep(folder, id, body)) ? 'took' : 'had already'} ${id}`]
  } catch (error) {
    if (error instanceof Refused) return [401, `refused: ${error.message}`]
    return [503, `not kept: ${error.code}`] // the service retries
  }
}

// Prints an error, and exits.
function stop(why) {
  console.error(why)
  process.exit(2)
}

function keyOf(secret) {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
  if (key.length === 0 || secret !== `whsec_${key.toString('base64')}`) {
    stop('SIGNING_SECRETS: each must be whsec_ followed by base64')
  }
  return key
}

const keys = (process.env.SIGNING_SECRETS ?? '').split(/\s+/).filter(Boolean).map(keyOf)
if (keys.length === 0) stop('SIGNING_SECRETS: name at least one key')
const authorization = process.env.AUTHORIZATION ?? ''
if (!/^[ -~]*$/.test(authorization)) stop('AUTHORIZATION: must be ASCII')
const port = process.env.PORT || '9000'
if (!/^[0-9]{1,5}$/.test(port) || Number(port) > 65535) stop('PORT: must be a number up to 65535')
const folder = process.env.NOTIFICATIONS || 'notifications'
process.umask(0o077)
try {
  await mkdir(folder, { recursive: true })
  for (const name of await readdir(folder)) {
    if (name.startsWith('.draft-')) await rm(join(folder, name), { force: true }) // of a process that was killed
  }
} catch (error) {
  stop(`cannot start: ${error.message}`)
}

const times = { requestTimeout: PATIENCE, connectionsCheckingInterval: 1_000 } // ms
const server = createServer(times, async (request, response) => {
  const [status, what] = await take(request)
  response.writeHead(status).end()
  console.log(what)
})
server.on('error', (error) => stop(`cannot start: ${error.message}`))
server.listen(Number(port), process.env.HOST || '127.0.0.1', () => {
  console.log(`listening on port ${server.address().port}`)
})

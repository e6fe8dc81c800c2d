// The typed REST client. Every call either returns data or throws a ProblemError.
import createClient, { type Middleware } from 'openapi-fetch'

import { hearTime } from '../lib/now'
import { save } from '../lib/save'
import { ProblemError } from './problem'
import type { paths } from './schema'
import type { Answer } from './types'

const CREATES = new Set(['POST'])
const UNPROVEN = '/problems/confirm-identity'

/** Asks the person to prove again who they are; true when they did. The shell sets it. */
export const identity = { confirm: (): Promise<boolean> => Promise.resolve(false) }

/** Requests on their way, to be sent again after the person proved who they are. */
const waiting = new Map<string, Request>()

const conventions: Middleware = {
  onRequest({ request, id }) {
    if (CREATES.has(request.method)) request.headers.set('idempotency-key', crypto.randomUUID())
    if (request.method !== 'GET') waiting.set(id, request.clone())
    return request
  },
  async onResponse({ response, id }) {
    const request = waiting.get(id)
    waiting.delete(id)
    hearTime(response.headers.get('date'))
    if (response.ok) return response
    const error = await ProblemError.fromResponse(response)
    const unproven = error.problem.type === UNPROVEN
    if (!unproven || !request || request.url.endsWith('/v1/session/confirm')) throw error
    if (!(await identity.confirm())) throw error
    const again = await fetch(request)
    if (!again.ok) throw await ProblemError.fromResponse(again)
    return again
  },
  onError({ id }) {
    waiting.delete(id)
    return ProblemError.unreachable()
  },
}

export const client = createClient<paths>({ credentials: 'same-origin' })
client.use(conventions)

/** The body of a successful answer. */
export async function body<T>(
  call: Promise<{ data?: T; response: Response }>,
): Promise<Answer<Exclude<T, undefined>>> {
  const { data, response } = await call
  return (response.status === 204 ? undefined : data) as Answer<Exclude<T, undefined>>
}

/** Changes a thing only if nobody else has since it was read. */
export function ifUnchanged(read: { version: number } | null) {
  return read === null ? {} : { headers: { 'if-match': `"${read.version}"` } }
}

/** Fetches a file; once more after the person proved who they are, where that is asked for. */
export async function download(path: string, name: string): Promise<void> {
  let answer = await fetch(path)
  if (!answer.ok) {
    const error = await ProblemError.fromResponse(answer)
    if (error.problem.type !== UNPROVEN || !(await identity.confirm())) throw error
    answer = await fetch(path)
    if (!answer.ok) throw await ProblemError.fromResponse(answer)
  }
  save(name, await answer.blob())
}

export type Upload = {
  method: 'POST' | 'PUT'
  path: string
  type: string
  content: Blob | ArrayBuffer
  headers?: Record<string, string>
  onProgress?: (fraction: number) => void
}

/** Sends a file; once more after the person proved who they are, where that is asked for. */
export async function upload<T>(options: Upload): Promise<T> {
  try {
    return await send<T>(options)
  } catch (error) {
    if (ProblemError.of(error).problem.type !== UNPROVEN) throw error
    if (!(await identity.confirm())) throw error
    return send<T>(options)
  }
}

/** fetch cannot report upload progress, XMLHttpRequest can. */
function send<T>(options: Upload): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open(options.method, options.path)
    request.setRequestHeader('content-type', options.type)
    for (const [name, value] of Object.entries(options.headers ?? {})) {
      request.setRequestHeader(name, value)
    }
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) options.onProgress?.(event.loaded / event.total)
    }
    request.onerror = () => reject(ProblemError.unreachable())
    request.onload = () => {
      const ok = request.status >= 200 && request.status < 300
      if (!ok) reject(ProblemError.fromText(request.status, request.responseText))
      else
        resolve((request.responseText === '' ? undefined : JSON.parse(request.responseText)) as T)
    }
    request.send(options.content)
  })
}

/** A page of a table in CSV, and where it goes on. */
export async function table(
  path: string,
  question: object,
): Promise<{ text: string; cursor: string | null }> {
  const response = await fetch(path, {
    method: 'POST',
    headers: { accept: 'text/csv', 'content-type': 'application/json' },
    body: JSON.stringify(question),
  }).catch(() => {
    throw ProblemError.unreachable()
  })
  if (!response.ok) throw await ProblemError.fromResponse(response)
  return { text: await response.text(), cursor: response.headers.get('veritwin-next-cursor') }
}

/** Bytes of a first-party resource; null when there is none. */
export async function bytes(path: string, signal?: AbortSignal): Promise<ArrayBuffer | null> {
  const response = await fetch(path, { signal: signal ?? null }).catch(() => {
    throw ProblemError.unreachable()
  })
  if (response.status === 404) return null
  if (!response.ok) throw await ProblemError.fromResponse(response)
  return response.arrayBuffer()
}

// One WebSocket for everything live: subscriptions survive reconnects, back-off is bounded.
import type { Alert } from '../api/types'
import type { LiveItem } from './latest'
import type { TrafficItem } from './traffic'

export type LiveStatus = 'connecting' | 'live' | 'lost'
export type Topic = 'latest' | 'alerts' | 'twins' | 'traffic'
export type LiveMessage =
  | { type: 'latest'; id: number; seq: number; items: LiveItem[] }
  | { type: 'alert'; id: number; seq: number; alert: Alert }
  | { type: 'twin'; id: number; seq: number; twin_id: string; change: string }
  | { type: 'traffic'; id: number; seq: number; items: TrafficItem[]; left_out: number }
  | { type: 'missed'; id: number; seq: number }
  /** It was refused, or has ended. */
  | { type: 'failed'; id: number; detail: string }

type Incoming =
  | LiveMessage
  | { type: 'ready'; seq: number }
  | { type: 'done'; id: number }
  | { type: 'error'; id?: number; detail: string }
type Subscription = {
  topic: Topic
  filter: Record<string, unknown>
  handle: (m: LiveMessage) => void
}

const RETRY_FIRST_MS = 500
const RETRY_MAX_MS = 15_000

/** Doubles up to the bound; `spread` in 0..1 keeps many browsers from returning at once. */
export function retryDelayMs(attempt: number, spread: number): number {
  return Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt, 10)) * (0.5 + spread / 2)
}

export class LiveConnection {
  #socket: WebSocket | null = null
  #subscriptions = new Map<number, Subscription>()
  #nextId = 1
  #attempt = 0
  #timer: ReturnType<typeof setTimeout> | null = null
  #status: LiveStatus = 'connecting'
  #watchers = new Set<() => void>()
  #returns = new Set<() => void>()
  #wasReady = false
  #closed = false

  readonly #url: string

  constructor(url: string) {
    this.#url = url
  }

  get status(): LiveStatus {
    return this.#status
  }

  watchStatus(wake: () => void): () => void {
    this.#watchers.add(wake)
    return () => this.#watchers.delete(wake)
  }

  /** Wakes when the connection is back after a break: events of the break are never sent. */
  watchReturns(wake: () => void): () => void {
    this.#returns.add(wake)
    return () => this.#returns.delete(wake)
  }

  open(): void {
    this.#closed = false
    if (this.#socket !== null) return
    const socket = new WebSocket(this.#url)
    this.#socket = socket
    socket.onmessage = (event) => {
      if (typeof event.data === 'string') this.#receive(JSON.parse(event.data) as Incoming)
    }
    socket.onclose = () => this.#lost(socket)
  }

  close(): void {
    this.#closed = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    const socket = this.#socket
    this.#socket = null
    socket?.close()
  }

  subscribe(
    topic: Topic,
    filter: Record<string, unknown>,
    handle: (message: LiveMessage) => void,
  ): () => void {
    const id = this.#nextId
    this.#nextId += 1
    this.#subscriptions.set(id, { topic, filter, handle })
    if (this.#status === 'live') this.#send({ op: 'subscribe', id, topic, ...filter })
    return () => {
      this.#subscriptions.delete(id)
      if (this.#status === 'live') this.#send({ op: 'unsubscribe', id })
    }
  }

  #receive(message: Incoming): void {
    switch (message.type) {
      case 'ready':
        this.#attempt = 0
        this.#set('live')
        for (const [id, { topic, filter }] of this.#subscriptions) {
          this.#send({ op: 'subscribe', id, topic, ...filter })
        }
        if (this.#wasReady) for (const wake of this.#returns) wake()
        this.#wasReady = true
        return
      case 'latest':
      case 'alert':
      case 'twin':
      case 'traffic':
      case 'missed':
      case 'failed':
        this.#subscriptions.get(message.id)?.handle(message)
        return
      case 'error': {
        const { id, detail } = message
        if (id != null) this.#subscriptions.get(id)?.handle({ type: 'failed', id, detail })
        return
      }
      case 'done':
        return
    }
  }

  #lost(socket: WebSocket): void {
    if (this.#socket !== socket) return
    this.#socket = null
    this.#set('lost')
    if (this.#closed) return
    const delay = retryDelayMs(this.#attempt, Math.random())
    this.#attempt += 1
    this.#timer = setTimeout(() => this.open(), delay)
  }

  #send(message: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message))
  }

  #set(status: LiveStatus): void {
    if (status === this.#status) return
    this.#status = status
    for (const wake of this.#watchers) wake()
  }
}

export function liveUrl(location: Location): string {
  return `${location.protocol.replace('http', 'ws')}//${location.host}/v1/ws`
}

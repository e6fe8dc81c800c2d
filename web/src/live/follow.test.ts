// The connection is driven by a socket of the test: what was dropped or missed is read again.
import { QueryClient } from '@tanstack/react-query'
import { afterEach, expect, test, vi } from 'vitest'

import { follow } from './follow'
import { LiveConnection } from './socket'

class TestSocket {
  static OPEN = 1
  static all: TestSocket[] = []
  readyState = 1
  sent: { op: string; id: number; topic: string }[] = []
  onmessage: (event: { data: string }) => void = () => undefined
  onclose: () => void = () => undefined
  constructor() {
    TestSocket.all.push(this)
  }
  send(text: string) {
    this.sent.push(JSON.parse(text) as TestSocket['sent'][number])
  }
  close() {}
  say(message: object) {
    this.onmessage({ data: JSON.stringify(message) })
  }
}

afterEach(() => {
  vi.unstubAllGlobals()
  vi.useRealTimers()
  TestSocket.all = []
})

function started() {
  vi.useFakeTimers()
  vi.stubGlobal('WebSocket', TestSocket)
  const queries = new QueryClient()
  for (const key of ['alerts', 'twins', 'devices', 'rules']) queries.setQueryData([key], key)
  const stale = () =>
    ['alerts', 'twins', 'devices', 'rules'].filter(
      (key) => queries.getQueryState([key])?.isInvalidated,
    )
  const connection = new LiveConnection('wss://test/v1/ws')
  follow(connection, queries, () => undefined)
  connection.open()
  const socket = () => TestSocket.all.at(-1) as TestSocket
  socket().say({ type: 'ready', seq: 0 })
  return { connection, socket, stale }
}

test('after a break alerts, twins and devices are read again', () => {
  const { connection, socket, stale } = started()
  expect(stale()).toEqual([])
  socket().onclose()
  expect(connection.status).toBe('lost')
  vi.runOnlyPendingTimers()
  expect(stale()).toEqual([])
  socket().say({ type: 'ready', seq: 0 })
  expect(socket().sent.map((command) => command.topic)).toEqual(['alerts', 'twins'])
  expect(stale()).toEqual(['alerts', 'twins', 'devices'])
})

test('events that the server dropped are read again, topic by topic', () => {
  const { socket, stale } = started()
  const id = (topic: string) => socket().sent.find((command) => command.topic === topic)?.id
  socket().say({ type: 'missed', id: id('alerts'), seq: 1 })
  expect(stale()).toEqual(['alerts'])
  socket().say({ type: 'missed', id: id('twins'), seq: 2 })
  expect(stale()).toEqual(['alerts', 'twins', 'devices'])
})

test.each([
  ['bindings', ['alerts', 'twins', 'devices']],
  ['deleted', ['alerts', 'twins', 'devices']],
  ['geometry', ['twins']],
])('what changes with a twin is read again: %s', (change, expected) => {
  const { socket, stale } = started()
  const id = socket().sent.find((command) => command.topic === 'twins')?.id
  socket().say({ type: 'twin', id, seq: 1, twin_id: 'one', change })
  expect(stale()).toEqual(expected)
})

test('a flood of alerts reads the list at once and then in steps', () => {
  const { socket, connection } = started()
  const id = socket().sent.find((command) => command.topic === 'alerts')?.id
  const read = vi.spyOn(QueryClient.prototype, 'invalidateQueries')
  const reads = () => read.mock.calls.filter(([what]) => what?.queryKey?.[0] === 'alerts').length
  for (let seq = 1; seq <= 1_000; seq += 1) socket().say({ type: 'missed', id, seq })
  expect(reads()).toBe(1)
  vi.advanceTimersByTime(2_000)
  expect(reads()).toBe(2)
  vi.advanceTimersByTime(10_000)
  expect(reads()).toBe(2)
  expect(connection.status).toBe('live')
  read.mockRestore()
})

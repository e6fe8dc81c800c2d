import { expect, test, vi } from 'vitest'

import { LatestStore, type LiveItem } from './latest'

const item = (at_ms: number, value: number): LiveItem => ({
  device_id: 'd',
  key: 'k',
  at_ms,
  value,
  quality: 'good',
})

test('late values never replace newer ones, equal times do', () => {
  const store = new LatestStore()
  store.apply([item(10, 1), item(5, 2)])
  expect(store.get('d', 'k')?.value).toBe(1)
  store.apply([item(10, 3)])
  expect(store.get('d', 'k')?.value).toBe(3)
})

test('only watchers of what changed wake', () => {
  const store = new LatestStore()
  const one = vi.fn()
  const other = vi.fn()
  const stop = store.watch('d', 'k', one)
  store.watch('d', 'other', other)
  store.apply([item(1, 1)])
  store.apply([item(0, 1)])
  stop()
  store.apply([item(2, 1)])
  expect(one).toHaveBeenCalledTimes(1)
  expect(other).not.toHaveBeenCalled()
  expect(store.version).toBe(2)
})

import { afterEach, expect, test, vi } from 'vitest'

import { identity, type Upload, upload } from './client'

const UNPROVEN = JSON.stringify({ title: 'Confirm', type: '/problems/confirm-identity' })

/** A server that asks for a proof first; how often it was asked. */
function server(answers: [number, string][]) {
  const seen = { count: 0 }
  class Request {
    status = 0
    responseText = ''
    upload = {}
    onload = () => {}
    open() {}
    setRequestHeader() {}
    send() {
      ;[this.status, this.responseText] = answers[seen.count++] ?? [500, '']
      queueMicrotask(() => this.onload())
    }
  }
  vi.stubGlobal('XMLHttpRequest', Request)
  return seen
}

const file: Upload = {
  method: 'POST',
  path: '/v1/users/import',
  type: 'text/csv',
  content: new Blob(),
}

afterEach(() => {
  vi.unstubAllGlobals()
  identity.confirm = () => Promise.resolve(false)
})

test('a file goes once more after the person proved who they are', async () => {
  const seen = server([
    [403, UNPROVEN],
    [201, '{"items":[]}'],
  ])
  identity.confirm = () => Promise.resolve(true)
  await expect(upload(file)).resolves.toEqual({ items: [] })
  expect(seen.count).toBe(2)
})

test('without a proof, or for another reason, it is refused as it was', async () => {
  let seen = server([[403, UNPROVEN]])
  await expect(upload(file)).rejects.toMatchObject({ status: 403 })
  expect(seen.count).toBe(1)
  seen = server([[400, '{"title":"Bad"}']])
  identity.confirm = () => Promise.resolve(true)
  await expect(upload(file)).rejects.toMatchObject({ status: 400 })
  expect(seen.count).toBe(1)
})

import { afterEach, expect, test, vi } from 'vitest'

import { download, identity, type Upload, upload } from './client'

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

test('an export is fetched once more after the person proved who they are', async () => {
  const answers = [new Response(UNPROVEN, { status: 403 }), new Response('a,b')]
  const fetched = vi.fn(() => Promise.resolve(answers.shift()))
  vi.stubGlobal('fetch', fetched)
  const kept: Blob[] = []
  vi.stubGlobal('document', { createElement: () => ({ click: () => {} }) })
  vi.stubGlobal('URL', {
    createObjectURL: (content: Blob) => `blob:${kept.push(content)}`,
    revokeObjectURL: () => {},
  })
  identity.confirm = () => Promise.resolve(true)
  await download('/v1/activity/export?format=csv', 'activity.csv')
  expect(fetched).toHaveBeenCalledTimes(2)
  await expect(kept[0]?.text()).resolves.toBe('a,b')
  identity.confirm = () => Promise.resolve(false)
  answers.push(new Response(UNPROVEN, { status: 403 }))
  await expect(download('/v1/a', 'a')).rejects.toMatchObject({ status: 403 })
  expect(kept).toHaveLength(1)
})

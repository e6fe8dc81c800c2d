import { expect, test } from 'vitest'

import { parseSelection, printSelection } from './selection'

test('selections survive the address bar', () => {
  for (const text of ['space:2O2Fr$t4X7Zf8NOew3FNtn', 'device:1-2', 'sensor:1-2/a/b', 'alert:7']) {
    const selection = parseSelection(text)
    expect(selection).not.toBeNull()
    if (selection !== null) expect(printSelection(selection)).toBe(text)
  }
})

test('anything else selects nothing', () => {
  for (const text of [undefined, '', 'space:', 'sensor:1', 'sensor:1/', 'user:1']) {
    expect(parseSelection(text)).toBeNull()
  }
})

// Every action that a role may hold is worded: the reference lists them all.
import { readFileSync } from 'node:fs'

import { i18n } from '@lingui/core'
import { expect, test } from 'vitest'

import { actionLabel } from './actions'

test('every action has words', () => {
  i18n.loadAndActivate({ locale: 'en', messages: {} })
  const reference = readFileSync('../docs/reference/roles.md', 'utf8')
  const actions = [...reference.matchAll(/^\| `([a-z_]+\.[a-z_]+)` \|/gm)].map(([, name]) => name)
  expect(actions.length).toBeGreaterThan(70)
  const bare = actions.filter((action) => actionLabel(action ?? '') === action)
  expect(bare).toEqual([])
})

// Every action that there is has words: records name them all.
import { readFileSync } from 'node:fs'

import { i18n } from '@lingui/core'
import { expect, test } from 'vitest'

import { actionLabel } from './actions'

test('every action has words', () => {
  i18n.loadAndActivate({ locale: 'en', messages: {} })
  const source = readFileSync('../crates/access/src/action.rs', 'utf8')
  const actions = [...source.matchAll(/= "([a-z_]+\.[a-z_]+)" on /g)].map(([, name]) => name ?? '')
  expect(actions.length).toBeGreaterThan(90)
  expect(actions.filter((action) => actionLabel(action) === action)).toEqual([])
})

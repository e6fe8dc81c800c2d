import { expect, test } from 'vitest'

import { changedFields, inWords } from './governedChange'

const WORDS = { yes: 'yes', no: 'no', nothing: 'nothing' }

test('only what is not as it was is told', () => {
  const before = { state: 'draft', content: { title: 'A', text: 'same' }, facts: { readers: [] } }
  const after = { state: 'published', content: { title: 'B', text: 'same' }, facts: {} }
  expect(changedFields(before, after)).toEqual([
    { field: 'state', before: 'draft', after: 'published' },
    { field: 'title', before: 'A', after: 'B' },
  ])
})

test('of a new thing everything is told that is not empty', () => {
  const after = { state: 'open', content: { title: 'A', text: '' }, facts: {} }
  expect(changedFields(null, after).map((one) => one.field)).toEqual(['state', 'title'])
})

test('values are words', () => {
  expect(inWords(true, WORDS)).toBe('yes')
  expect(inWords([], WORDS)).toBe('nothing')
  expect(inWords(['a', 'b'], WORDS)).toBe('a, b')
  expect(inWords([{ to: 'authority', is_late: false, text: '' }], WORDS)).toBe(
    'to: authority; is late: no',
  )
})

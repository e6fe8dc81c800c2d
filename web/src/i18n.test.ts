// The catalogues are complete and keep the placeholders of the English sentence.
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

import { negotiate } from './i18n'

function entries(locale: string): [string, string][] {
  const text = readFileSync(new URL(`./locales/${locale}.po`, import.meta.url), 'utf8')
  return [...text.matchAll(/^msgid "(.+)"\nmsgstr "(.*)"$/gm)].map((m) => [m[1] ?? '', m[2] ?? ''])
}

function placeholders(message: string): string[] {
  return [...new Set([...message.matchAll(/\{(\w+)(?=[,}])/g)].map((m) => m[1] ?? ''))].sort()
}

test.each(['zh-Hant', 'ja', 'ko'])('%s is complete', (locale) => {
  const found = entries(locale)
  expect(found.length).toBe(entries('en').length)
  for (const [id, translation] of found) {
    expect(translation, id).not.toBe('')
    expect(placeholders(translation), id).toEqual(placeholders(id))
  }
})

test.each(['zh-Hant', 'ja', 'ko'])('a tariff is no floor plan in %s', (locale) => {
  const words = Object.fromEntries(entries(locale))
  expect(words).not.toHaveProperty('Plan')
  expect(words['Plan (tariff)']).toBe(words['Plans'])
  expect(words['Plan (drawing)']).not.toBe(words['Plans'])
})

test('an organisation in use is no alert that goes on', () => {
  expect(Object.fromEntries(entries('ja'))['Active (organisation)']).toBe('有効')
})

test('the best of our languages is found', () => {
  expect(negotiate(['de-DE', 'zh-TW', 'en'])).toBe('zh-Hant')
  expect(negotiate(['ja-JP'])).toBe('ja')
  expect(negotiate(['fr'])).toBe('en')
  expect(negotiate([])).toBe('en')
})

import { expect, test } from 'vitest'

import {
  bucketMs,
  formatAge,
  formatDuration,
  formatInstant,
  formatTick,
  isStale,
  isTimeZone,
  presetMs,
  regional,
  resolveRange,
} from './time'

const NOW = Date.parse('2026-03-01T12:00:00Z')

test('a range needs both ends in order, otherwise it rolls', () => {
  const fixed = { from: '2026-02-01T00:00:00Z', to: '2026-02-02T00:00:00Z' }
  expect(resolveRange(fixed, NOW)).toEqual({
    fromMs: Date.parse(fixed.from),
    toMs: Date.parse(fixed.to),
    rolling: false,
  })
  for (const search of [
    { from: fixed.from },
    { from: fixed.to, to: fixed.from },
    { from: 'x', to: 'y' },
  ]) {
    expect(resolveRange(search, NOW)).toEqual({
      fromMs: NOW - 3_600_000,
      toMs: NOW,
      rolling: true,
    })
  }
  expect(resolveRange({ range: '15m' }, NOW).fromMs).toBe(NOW - presetMs('15m'))
})

test('buckets are round and never too many', () => {
  const day = resolveRange({ range: '24h' }, NOW)
  expect(bucketMs(day, 400)).toBe(300_000)
  expect(86_400_000 / bucketMs(day, 400)).toBeLessThanOrEqual(400)
  expect(bucketMs({ fromMs: 0, toMs: 3650 * 86_400_000, rolling: false }, 100) % 86_400_000).toBe(0)
})

test('ages speak the language of the reader', () => {
  expect(formatAge(NOW - 12_000, NOW, 'en')).toBe('12s ago')
  expect(formatAge(NOW - 3 * 3_600_000, NOW, 'ja')).toBe('3時間前')
  expect(formatAge(NOW + 1_000, NOW, 'en')).toContain('0s')
  expect(formatAge(NOW - 1_000, NOW, 'en')).toBe('1s ago')
  const day = 86_400_000
  expect(formatAge(NOW + 7 * day - 20_000, NOW, 'en')).toBe('in 7d')
  expect(formatAge(NOW + 6.5 * day, NOW, 'en')).toBe('in 6d')
  expect(formatAge(NOW + day - 60_000, NOW, 'en')).toBe('in 1d')
  expect(formatAge(NOW + 90_000, NOW, 'en')).toBe('in 1m')
})

test('a duration is told in the largest unit of which there are two', () => {
  expect(formatDuration(20 * 60_000, 'en')).toBe('20 minutes')
  expect(formatDuration(119 * 60_000, 'en')).toBe('119 minutes')
  expect(formatDuration(3 * 3_600_000, 'zh-Hant')).toBe('3 小時')
  expect(formatDuration(20_000 * 86_400_000, 'en')).toBe('20,000 days')
  expect(formatDuration(20 * 60_000, 'ko')).toBe('20분')
})

test('instants carry their zone', () => {
  expect(formatInstant(NOW, 'en', 'UTC')).toBe('Mar 1, 2026, 12:00:00 UTC')
  expect(formatInstant(Number.NaN, 'en', 'UTC')).toBe('—')
})

test('ticks name the day only when the span needs it', () => {
  expect(formatTick(NOW, 3_600_000, 'en', 'UTC')).toBe('12:00')
  expect(formatTick(NOW, 7 * 86_400_000, 'en', 'UTC')).toBe('Mar 1, 12:00')
  expect(formatTick(NOW, 30 * 86_400_000, 'en', 'UTC')).toBe('Mar 1')
  expect(formatTick(NOW, 3_600_000, 'en', 'UTC', 'Asia/Taipei')).toBe('20:00')
})

test('staleness', () => {
  expect(isStale(NOW - 60_000, NOW)).toBe(false)
  expect(isStale(NOW - 3_600_000, NOW)).toBe(true)
})

test('dates follow the variety of the language that the browser prefers', () => {
  expect(regional('en', ['de-DE', 'en-GB', 'en-US'])).toBe('en-GB')
  expect(regional('en', ['de', 'en'])).toBe('en')
  expect(regional('zh-Hant', ['zh-Hant-HK'])).toBe('zh-Hant-HK')
})

test('zones have names that clocks are known of', () => {
  expect(['UTC', 'Asia/Taipei'].every(isTimeZone)).toBe(true)
  expect(['Europe/Atlantis', '+01:00', ''].some(isTimeZone)).toBe(false)
})

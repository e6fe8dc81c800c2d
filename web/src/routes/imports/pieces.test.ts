import { describe, expect, it } from 'vitest'

import { cutOf, formOf, pieces, type Form } from './pieces'

const bytes = (text: string) => new TextEncoder().encode(text)

async function all(text: string, form: Form, size: number) {
  const found: { text: string; isLast: boolean }[] = []
  for await (const piece of pieces(new Blob([text]), form, size)) {
    if (piece === null) return null
    found.push({ text: await piece.content.text(), isLast: piece.isLast })
  }
  return found
}

describe('pieces', () => {
  it('are cut between rows, and not inside of quotes', () => {
    expect(cutOf('csv', bytes('a,b\n"x\ny",2\n3'))).toBe(12)
    expect(cutOf('csv', bytes('a,b\n"x\ny'))).toBe(4)
    expect(cutOf('ndjson', bytes('{"a":"\n'))).toBe(7)
    expect(cutOf('csv', bytes('a long row'))).toBe(0)
  })

  it('are the whole file', async () => {
    const text = 'a,b\n1,2\n3,4\n5,6'
    const found = await all(text, 'csv', 9)
    expect(found?.map((piece) => piece.text).join('')).toBe(text)
    expect(found?.map((piece) => piece.isLast)).toEqual([false, true])
    expect(await all('a row that is too long', 'csv', 5)).toBeNull()
  })

  it('know their form by the name', () => {
    expect(formOf('A.CSV')).toBe('csv')
    expect(formOf('a.parquet')).toBe('parquet')
    expect(formOf('a.xlsx')).toBeNull()
  })
})

import { describe, expect, it } from 'vitest'

import { cutOf, delimiterOf, fingerprintOf, formOf, pieces, type Form } from './pieces'

const bytes = (text: string) => new TextEncoder().encode(text)
const written = (form: Form, delimiter = ',') => ({ form, delimiter })

async function all(text: string, form: Form, size: number) {
  const found: { text: string; isLast: boolean }[] = []
  for await (const piece of pieces(new Blob([text]), written(form), size)) {
    if (piece === null) return null
    found.push({ text: await piece.content.text(), isLast: piece.isLast })
  }
  return found
}

describe('pieces', () => {
  it('are cut between rows, and not inside of quotes', () => {
    expect(cutOf(written('csv'), bytes('a,b\n"x\ny",2\n3'))).toBe(12)
    expect(cutOf(written('csv'), bytes('a,b\n"x\ny'))).toBe(4)
    expect(cutOf(written('ndjson'), bytes('{"a":"\n'))).toBe(7)
    expect(cutOf(written('csv'), bytes('a long row'))).toBe(0)
    // A quote within a field is a letter; doubled ones within quotes end nothing.
    expect(cutOf(written('csv', ';'), bytes('5" pipe;1\n6;2\n7'))).toBe(14)
    expect(cutOf(written('csv', ';'), bytes('"a""\nb";1\n6;"'))).toBe(10)
  })

  it('have what stands between their columns', () => {
    expect(delimiterOf('time;"a,b,c";temp\n1,5;2;3')).toBe(';')
    expect(delimiterOf('time\ttemp')).toBe('\t')
    expect(delimiterOf('value')).toBe(',')
  })

  it('are told from those of every other file', async () => {
    const prints = ['abcdef', 'abXdef', 'abcdef', 'abcde'].map((text) =>
      fingerprintOf(new Blob([text]), 2),
    )
    const [first, middle, same, shorter] = await Promise.all(prints)
    expect(same).toBe(first)
    expect(new Set([first, middle, shorter]).size).toBe(3)
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

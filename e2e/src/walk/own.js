// One's own data: the right to a copy is used and answered at once, the copy comes as a file, and
// an objection is made and taken back.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'

import { choose, part } from './people.js'

const COPY = 'A copy of my data'
const OBJECTION = 'Object to a use of my data'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function ownSteps({ visitor }) {
  const { page } = visitor
  const own = part(page, 'My privacy')
  const row = (right) => own.getByRole('listitem').filter({ hasText: right })
  async function uses(right) {
    await own.getByRole('button', { name: 'Use a right' }).click()
    const form = page.getByRole('dialog', { name: 'Use a right' })
    if (right !== COPY) await choose(page, form, 'What should be done', right)
    await visitor.look(`using a right: ${right}`)
    await form.getByRole('button', { name: 'Send' }).click()
    await form.waitFor({ state: 'detached' })
    await row(right).getByText('answered', { exact: true }).waitFor()
  }
  return [
    {
      name: 'somebody asks for the copy of their data and downloads it',
      run: async () => {
        await visitor.open('/settings')
        await uses(COPY)
        const coming = page.waitForEvent('download')
        await own.getByRole('button', { name: 'Download my data' }).click()
        const copy = await coming
        assert.equal(copy.suggestedFilename(), 'my-data.zip')
        const bytes = await readFile(await copy.path())
        assert.equal(bytes.toString('latin1', 0, 4), 'PK\u0003\u0004')
        assert.ok(bytes.length > 1_000, `${bytes.length} bytes`)
      },
    },
    {
      name: 'an objection counts at once and is taken back',
      run: async () => {
        await uses(OBJECTION)
        await row(OBJECTION).getByRole('button', { name: 'Take back' }).click()
        await row(OBJECTION).getByText('taken back', { exact: true }).waitFor()
      },
    },
  ]
}

// A hold over records is asked for, waits for a second person, and is taken back.
import { choose, part } from './people.js'

const NOTE = 'The insurer asks about the flood.'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function holdSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a hold is asked for, waits for a second person, and is taken back',
      run: async () => {
        await visitor.open('/activity')
        await page.getByRole('button', { name: 'Ask for a hold' }).click()
        const form = page.getByRole('dialog', { name: 'Ask for a hold' })
        await choose(page, form, 'Why', 'Legal duty')
        await form.getByLabel('In words').fill(NOTE)
        await visitor.look('asking for a hold')
        await form.getByRole('button', { name: 'Ask', exact: true }).click()
        await form.waitFor({ state: 'detached' })
        const row = part(page, 'Holds').getByRole('listitem').filter({ hasText: NOTE })
        await row.getByText('waits for a second person').waitFor()
        await row.getByRole('button', { name: 'Take back' }).click()
        await row.getByText('released', { exact: true }).waitFor()
      },
    },
  ]
}

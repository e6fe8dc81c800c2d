// The registers: an instruction is entered and ended by a word, a flow to another jurisdiction
// waits for a second person, and an agreement is made from what they say.
import { confirmTyped } from './inventory.js'
import { choose, part } from './people.js'

const INSTRUCTION = 'Readings of the lobby are kept for a week.'
const RECIPIENT = 'Example Analysts'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function registerSteps({ visitor }) {
  const { page } = visitor
  const row = (text) => page.getByRole('listitem').filter({ hasText: text })
  const form = page.getByRole('dialog', { name: 'Enter', exact: true })
  const enter = async () => {
    await form.getByRole('button', { name: 'Enter', exact: true }).click()
    await form.waitFor({ state: 'detached' })
  }
  const end = async (text) => {
    await row(text).getByRole('button', { name: 'End', exact: true }).click()
    await confirmTyped(page, 'End this entry', 'end', 'End')
    await row(text).getByText('ended', { exact: true }).waitFor()
  }
  return [
    {
      name: 'an instruction is entered into its register, and ended by a word',
      run: async () => {
        await visitor.open('/registers')
        await page.getByRole('button', { name: 'Enter into Instructions' }).click()
        await form.getByLabel('Given by').fill('The landlord')
        await form.getByLabel('Text').fill(INSTRUCTION)
        await visitor.look('new instruction')
        await enter()
        await row(INSTRUCTION).getByText('in force', { exact: true }).waitFor()
        await end(INSTRUCTION)
      },
    },
    {
      name: 'a flow to another jurisdiction waits for a second person; an agreement is made',
      run: async () => {
        await page.getByRole('button', { name: 'Enter into Flows to other jurisdictions' }).click()
        await choose(page, form, 'Way', 'Export')
        await form.getByLabel('Country (two letters)').fill('FR')
        await form.getByLabel('Recipient').fill(RECIPIENT)
        await choose(page, form, 'Mechanism', 'Adequacy decision')
        await form.getByLabel('Assessment').fill('Reviewed by the privacy officer')
        await form.getByLabel('Reviewed until').fill('2100-01-01')
        await visitor.look('new flow')
        await enter()
        await row(RECIPIENT).getByText('waits for a second person').waitFor()
        await end(RECIPIENT)
        await page.getByRole('button', { name: 'Make an agreement' }).click()
        await part(page, 'Data processing agreements').locator('pre').first().waitFor()
        await visitor.look('registers')
      },
    },
  ]
}

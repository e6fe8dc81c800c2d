// An incident is opened by hand, noted on, and closed.
const TITLE = 'A door stood open'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function incidentSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'an incident is opened by hand, noted on, and closed',
      run: async () => {
        await visitor.open('/incidents')
        await page.getByRole('button', { name: 'Open an incident' }).click()
        const form = page.getByRole('dialog', { name: 'Open an incident' })
        await form.getByLabel('Title').fill(TITLE)
        await form.getByLabel('What happened').fill('On the ground floor, over night.')
        await visitor.look('new incident')
        await form.getByRole('button', { name: 'Open', exact: true }).click()
        const sheet = page.getByRole('dialog', { name: 'Incident', exact: true })
        const words = sheet.getByLabel('What was found, what was done')
        await words.fill('Nothing is missing.')
        await sheet.getByRole('button', { name: 'Add the note' }).click()
        await sheet.locator('.incident-notes').getByText('Nothing is missing.').waitFor()
        await words.fill('The door has a new closer.')
        await visitor.look('one incident')
        const close = sheet.getByRole('button', { name: 'Close the incident' })
        await close.click()
        await close.waitFor({ state: 'detached' })
        await sheet.getByText('The door has a new closer.').waitFor()
      },
    },
  ]
}

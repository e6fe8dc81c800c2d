// What else stands in the governance workspace: a task is done, a supplier's certificate entered as
// the supplier's, and a notice sent.
import { until } from '../runner.js'
import { part } from './people.js'

const TASK = 'Look at the fire doors'
const HOLDER = 'Example Cloud'
const NOTICE = 'Maintenance on Sunday'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function workspaceSteps({ visitor }) {
  const { page } = visitor
  /** Fills the form of something new and sends it. */
  async function enter(title, fields, action) {
    await page.getByRole('button', { name: title }).click()
    const form = page.getByRole('dialog', { name: title })
    for (const [label, text] of Object.entries(fields)) await form.getByLabel(label).fill(text)
    await visitor.look(`form: ${title}`)
    await form.getByRole('button', { name: action, exact: true }).click()
    await form.waitFor({ state: 'detached' })
  }
  return [
    {
      name: 'a task is added and done',
      run: async () => {
        await visitor.open('/governance?tab=tasks')
        await enter('Add a task', { 'What has to be done': TASK, Who: 'Facility' }, 'Save')
        const done = page.getByLabel(TASK)
        await done.click()
        await until('a task that is done', () => done.isChecked())
      },
    },
    {
      name: 'the certificate of a supplier stands there as the supplier’s',
      run: async () => {
        await page.getByRole('tab', { name: 'Certificates' }).click()
        const fields = {
          'Holder, as it is printed': HOLDER,
          'Issued by': 'Example Certifiers',
          'SHA-256 of the document': '7'.repeat(64),
          'What it covers': 'Its data centres.',
          'Valid until': '2100-01-01',
        }
        await enter('Enter a certificate', fields, 'Save')
        await page.getByRole('heading', { name: 'Certificates of suppliers' }).waitFor()
        await part(page, 'Certificates').getByText(`held by ${HOLDER}`).waitFor()
      },
    },
    {
      name: 'a notice is sent',
      run: async () => {
        await page.getByRole('tab', { name: 'Notices' }).click()
        await enter('Write a notice', { Title: NOTICE, Text: 'From nine to ten.' }, 'Send')
        const row = page.getByRole('listitem').filter({ hasText: NOTICE })
        await row.getByText('Service', { exact: true }).waitFor()
        await row.locator('summary').click()
        await row.getByText('From nine to ten.').waitFor()
        await visitor.look('notices')
      },
    },
  ]
}

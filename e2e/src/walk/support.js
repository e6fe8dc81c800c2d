// Support by grant: the customer opens a ticket and areas, support comes in and sees only those,
// the customer reads every step and takes the access back. Incidents and activity beside it.
import assert from 'node:assert/strict'

import { code } from '../authenticator.js'
import { Visitor } from '../browser.js'
import { until } from '../runner.js'
import { settled } from './person.js'

const SUBJECT = 'The chart of the chiller is empty'
const PASSWORD = 'a sentence is fine'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function supportSteps({ browser, demo, visitor }) {
  const { page } = visitor
  /** @type {Visitor} */
  let staff
  return [
    {
      name: 'activity is searched and a record shows where it came from',
      run: async () => {
        await visitor.open('/activity')
        await page.getByRole('textbox', { name: 'Search the records' }).fill('session.create')
        const row = page.getByRole('button', { name: 'session.create' }).first()
        await row.click()
        const record = page.getByRole('dialog', { name: 'Record' })
        await record.getByText('127.0.0.1').first().waitFor()
        // While the sheet slides in, its colours are no reader's colours.
        await until('the sheet stands', () =>
          record.evaluate((sheet) => sheet.getAnimations({ subtree: true }).length === 0),
        )
        await visitor.look('one record')
        await record.getByRole('button', { name: 'Close' }).click()
        await visitor.open('/incidents')
        await settled(page)
        await visitor.look('incidents')
      },
    },
    {
      name: 'a ticket opens nothing, a grant opens its areas',
      run: async () => {
        await visitor.open('/support')
        await page.getByRole('button', { name: 'Open a ticket' }).first().click()
        const form = page.getByRole('dialog', { name: 'Open a ticket' })
        await form.getByLabel('Subject').fill(SUBJECT)
        await form.getByLabel('What happened').fill('Since this morning.')
        await visitor.look('new ticket')
        await form.getByRole('button', { name: 'Open', exact: true }).click()
        await page.getByRole('heading', { name: SUBJECT }).waitFor()

        const { output } = await demo.command(['admin', 'link', '--support', '--data', demo.data])
        const link = /https:\/\/\S+\/welcome#\S+/.exec(output)?.[0]
        staff = await Visitor.arrive(browser, demo.origin)
        await staff.page.goto(link)
        await staff.page.getByLabel('E-mail').fill('support@platform.example')
        await staff.page.getByLabel(/^Password/).fill(PASSWORD)
        await staff.page.getByLabel('I am 18 or older').check()
        await staff.page.getByRole('button', { name: 'Continue' }).click()
        await staff.page.getByText('Nothing is open to you').waitFor()
        await staff.look('empty support desk')

        await page.getByRole('button', { name: 'Grant access' }).click()
        const grant = page.getByRole('dialog', { name: 'Grant access' })
        await grant.getByLabel('Devices').check()
        await visitor.look('grant')
        await grant.getByRole('button', { name: 'Grant', exact: true }).click()
        await page.getByText('open now').waitFor()
      },
    },
    {
      name: 'support comes in with a second factor, reads, and says so on every page',
      run: async () => {
        await staff.open('/settings')
        await staff.page.getByRole('button', { name: 'Set up the app' }).click()
        const app = staff.page.getByRole('dialog', { name: 'Set up an authenticator app' })
        await app.getByRole('button', { name: 'Show the code to scan' }).click()
        const secret = (await app.locator('pre').first().innerText()).trim()
        await app.getByLabel('The code that the app shows now').fill(code(secret))
        await app.getByRole('button', { name: 'Finish' }).click()
        await staff.page.getByRole('button', { name: 'Remove the app' }).waitFor()

        await staff.open('/support-desk')
        await staff.page.getByRole('heading', { name: SUBJECT }).waitFor()
        await staff.look('support desk')
        // The code just now was a proof, too.
        await staff.page.getByRole('button', { name: 'Enter, for reading' }).click()
        await staff.page.getByText(/^Support, read-only, in/).waitFor()
        await staff.page.getByRole('heading', { name: 'Devices' }).waitFor()
        const main = staff.page.getByRole('navigation', { name: 'Main' })
        assert.equal(await main.getByRole('link', { name: 'Rules' }).count(), 0)
        await staff.look('support inside')
      },
    },
    {
      name: 'the customer sees the steps and takes the access back at once',
      run: async () => {
        await visitor.open('/support')
        await page.getByText('Support may look in.').waitFor()
        await page.getByText('device.list').first().waitFor()
        await visitor.look('support with a grant')
        await page.getByRole('button', { name: 'Revoke now' }).click()
        await page.getByText('taken back').waitFor()
        for (const path of ['/v1/devices', '/v1/session', '/v1/twins', '/v1/ws']) {
          staff.provoked.add(`401 ${path}`)
        }
        await staff.page.goto(`${demo.origin}/devices`)
        await staff.page.getByRole('heading', { name: 'Sign in' }).waitFor()
        assert.deepEqual([...staff.findings], [])
        await staff.context.close()
      },
    },
  ]
}

// Mail to auditors: checkpoints are to be mailed to a registered destination every week, and then
// no more.
import assert from 'node:assert/strict'

import { ask } from './joining.js'
import { choose, part, status } from './people.js'

const PLACE = 'Auditors by mail'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function mailingSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'checkpoints are to be mailed to a destination every week, and no more',
      run: async () => {
        const { user } = await ask(page, 'GET', '/v1/session')
        const { destination } = await ask(page, 'POST', '/v1/route-destinations', {
          name: PLACE,
          kind: 'mail',
          recipient: 'Example Auditors',
          purpose: 'Audit of the ledger',
          user_ids: [user.id],
          instructed: true,
        })
        await visitor.open('/ledger')
        await page.getByRole('link', { name: 'Mail to auditors' }).click()
        await page.getByText('Nobody is mailed yet').waitFor()
        await page.getByRole('button', { name: 'New mailing' }).click()
        const form = page.getByRole('dialog', { name: 'New mailing' })
        await choose(page, form, 'To', PLACE)
        await visitor.look('new mailing')
        await form.getByRole('button', { name: 'Have checkpoints mailed' }).click()
        await form.waitFor({ state: 'detached' })
        const row = part(page, 'Mailings').getByRole('listitem').filter({ hasText: PLACE })
        await row.getByText('every week').waitFor()
        await visitor.look('mailings')
        await row.getByRole('button', { name: 'End', exact: true }).click()
        const sure = page.getByRole('dialog', { name: 'End this mailing?' })
        await sure.getByRole('button', { name: 'End the mailing' }).click()
        await page.getByText('Nobody is mailed yet').waitFor()
        const path = `/v1/route-destinations/${destination.id}`
        assert.equal(await status(page, 'DELETE', path), 204)
      },
    },
  ]
}

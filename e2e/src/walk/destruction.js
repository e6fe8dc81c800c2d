// Readings of a device are destroyed: looked at, confirmed by a word, listed, and certified.
import assert from 'node:assert/strict'

import { confirmTyped } from './inventory.js'
import { ask } from './joining.js'
import { reporting, status } from './people.js'

const DEVICE = 'Meter that is taken down'
const REASON = 'The meter is taken down.'
const DONE_TIMEOUT_MS = 60_000

let device = ''

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function destructionSteps(stage) {
  const { visitor } = stage
  const { page } = visitor
  return [
    {
      name: 'readings are destroyed once somebody has looked and confirmed by a word',
      run: async () => {
        device = (await reporting(stage, DEVICE)).id
        await visitor.open('/destruction')
        await page.getByRole('button', { name: 'Destroy readings' }).click()
        const form = page.getByRole('dialog', { name: 'Destroy readings' })
        const field = form.getByRole('combobox', { name: 'Device', exact: true })
        await field.fill(DEVICE)
        await page.getByRole('option', { name: DEVICE }).click()
        await form.getByLabel(/^Why, in words/).fill(REASON)
        await form.getByRole('button', { name: 'Look at what goes' }).click()
        const sure = page.getByRole('dialog', { name: 'Destroy for good?' })
        await sure.getByText('There is no way back. These stay:').waitFor()
        await visitor.look('destroying readings')
        await confirmTyped(page, 'Destroy for good?', 'destroy', 'Destroy')
        await form.waitFor({ state: 'detached' })
        await page.getByRole('listitem').filter({ hasText: DEVICE }).getByText(REASON).waitFor()
      },
    },
  ]
}

/** Once it had the time it takes. @returns {import('../runner.js').Step[]} */
export function destroyedSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'what was destroyed has its certificate',
      run: async () => {
        await visitor.open('/destruction')
        const row = page.getByRole('listitem').filter({ hasText: DEVICE })
        const link = row.getByRole('link', { name: 'Certificate' })
        await link.waitFor({ timeout: DONE_TIMEOUT_MS })
        await row.getByText('destroyed', { exact: true }).waitFor()
        const paper = await ask(page, 'GET', await link.getAttribute('href'))
        assert.ok(JSON.stringify(paper).includes(device), JSON.stringify(paper))
        assert.equal(await status(page, 'DELETE', `/v1/devices/${device}`), 204)
      },
    },
  ]
}

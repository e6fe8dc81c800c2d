// The chiller fails: the alert is raised, flown to, acknowledged with a comment.
import assert from 'node:assert/strict'

import { until } from '../runner.js'

const ALERT_TIMEOUT_MS = 150_000
const COMMENT = 'Condenser pump restarted, watching it.'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function alertSteps({ visitor, demo }) {
  const { page } = visitor
  const details = page.getByRole('complementary', { name: 'Details' })
  return [
    {
      name: 'the failing chiller raises a critical alert',
      run: async () => {
        await visitor.open('/')
        await page
          .getByRole('link', { name: /Critical:? ?[1-9]/ })
          .waitFor({ timeout: ALERT_TIMEOUT_MS })
        return `${Math.round((Date.now() - demo.startedAt) / 1000)} s after the start`
      },
    },
    {
      name: 'a click on it flies there and says what helps',
      run: async () => {
        const { frames } = await visitor.drawn()
        await details.getByRole('button', { name: /Critical/ }).first().click()
        await details.getByText('Active, not acknowledged').waitFor()
        await details.getByText('What usually helps').waitFor()
        await until('frames of a flight', async () => (await visitor.drawn()).frames >= frames + 2)
        await details.getByRole('button', { name: 'Fly there' }).click()
        await visitor.look('alert details')
      },
    },
    {
      name: 'it is acknowledged with a comment',
      run: async () => {
        await details.getByLabel(/^Comment/).fill(COMMENT)
        await details.getByRole('button', { name: 'Acknowledge', exact: true }).click()
        await details.getByText('Active, acknowledged').waitFor()
        await details.getByText(COMMENT).waitFor()
        await details.getByText(/Acknowledged · /).waitFor()
        await visitor.look('acknowledged alert')
      },
    },
    {
      name: 'the alert list shows it as acknowledged',
      run: async () => {
        await visitor.open('/alerts')
        await visitor.look('alerts, attention')
        await page.getByText('All', { exact: true }).click()
        const row = page.getByRole('row', { name: /Chilled water too warm/ }).first()
        await row.waitFor()
        assert.match(await row.innerText(), /acknowledged/)
        await row.getByRole('button').first().click()
        await page.getByRole('dialog', { name: 'Alert' }).getByText(COMMENT).waitFor()
        await visitor.look('alerts, all')
      },
    },
  ]
}

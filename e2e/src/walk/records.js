// Rules, promises and activity.
import assert from 'node:assert/strict'

import { until } from '../runner.js'
import { confirmTyped } from './inventory.js'

const PROMISES = 62
const PROVEN = ['P20', 'P22', 'P23', 'P26', 'P31', 'P32', 'P34', 'P35', 'P53', 'P56']
const PROVEN_TIMEOUT_MS = 60_000

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function recordSteps(stage) {
  return [...ruleSteps(stage), ...promiseSteps(stage), ...activitySteps(stage)]
}

function ruleSteps({ visitor }) {
  const { page } = visitor
  const name = 'Corridor too dry'
  return [
    {
      name: 'a rule is made and deleted',
      run: async () => {
        await visitor.open('/rules')
        await page.getByRole('button', { name: 'Chilled water too warm', exact: true }).waitFor()
        await visitor.look('rules')
        await page.getByRole('button', { name: 'Add a rule' }).click()
        const form = page.getByRole('dialog', { name: 'Add a rule' })
        await form.getByLabel('Name').fill(name)
        await form.getByLabel('Value (key)').fill('humidity')
        await page.keyboard.press('Tab')
        await form.getByRole('textbox', { name: 'Limit' }).fill('95')
        await visitor.look('new rule')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await page.getByRole('row', { name: new RegExp(`${name}.*humidity > 95`) }).waitFor()
        await page.getByRole('button', { name: `Delete ${name}` }).click()
        await confirmTyped(page, 'Delete the rule', name, 'Delete')
        await page.getByRole('button', { name, exact: true }).waitFor({ state: 'detached' })
      },
    },
  ]
}

function promiseSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: `${PROMISES} promises, ${PROVEN.length} of them proven`,
      run: async () => {
        await visitor.open('/promises')
        await page.locator('.promise').first().waitFor()
        assert.equal(await page.locator('.promise').count(), PROMISES)
        await visitor.look('promises')
        const state = async (id) => {
          const row = page.locator('.promise').filter({ has: page.getByText(id, { exact: true }) })
          return row.getAttribute('data-state')
        }
        let open = PROVEN
        await until(
          'all of those proven',
          async () => {
            const states = await Promise.all(PROVEN.map(state))
            open = PROVEN.filter((_, i) => states[i] !== 'proven')
            if (open.length > 0) {
              await page.reload()
              await page.locator('.promise').first().waitFor()
            }
            return open.length === 0
          },
          { timeoutMs: PROVEN_TIMEOUT_MS, everyMs: 1_000 },
        ).catch((error) => {
          throw new Error(`${error.message}; not proven: ${open.join(', ')}`)
        })
        const failing = await page.evaluate(async () => {
          const { items } = await (await fetch('/v1/promises')).json()
          return items
            .filter((/** @type {any} */ one) => one.state === 'failing')
            .map((/** @type {any} */ one) => [one.id, one.reason, one.evidence?.details])
        })
        assert.deepEqual(failing, [])
        assert.equal(await page.locator('.promise[data-state=failing]').count(), 0)
      },
    },
    {
      name: 'a promise explains itself and runs its check on demand',
      run: async () => {
        await page.getByRole('button', { name: /^P22/ }).click()
        await page.getByText('How it is kept').waitFor()
        const answer = page.waitForResponse((r) => /P22\/check$/.test(r.url()))
        await page.getByRole('button', { name: 'Run the check now' }).click()
        assert.equal((await answer).status(), 200)
        await visitor.look('one promise')
      },
    },
  ]
}

function activitySteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'what was done stands in the activity record',
      run: async () => {
        await visitor.open('/activity')
        const table = page.getByRole('table', { name: 'Activity' })
        await table.waitFor()
        const text = await table.innerText()
        for (const action of [/alert/i, /device/i, /rule/i]) assert.match(text, action)
        await visitor.look('activity')
      },
    },
  ]
}

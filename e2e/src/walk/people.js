// Who takes part in the journeys of the desks: the administrator proves again who they are, and
// colleagues come by invitation and stay signed in.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { PASSWORD } from './access.js'
import { ask } from './joining.js'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function proofSteps({ demo, visitor }) {
  return [
    {
      name: 'the administrator proves again who they are, as acts of weight need',
      run: async () => {
        const { password } = demo.facts.demo
        const proven = await status(visitor.page, 'POST', '/v1/session/confirm', { password })
        assert.equal(proven, 204)
      },
    },
  ]
}

/** What an answer without a body says. */
export function status(page, method, address, body) {
  return page.evaluate(
    async ([method, address, body]) => {
      const headers = { 'content-type': 'application/json' }
      return (await fetch(address, { method, headers, ...(body && { body }) })).status
    },
    [method, address, JSON.stringify(body)],
  )
}

/** Somebody who took an invitation up, in a browser of their own. */
export async function arrived({ browser, demo, visitor }, email, role) {
  const { link } = await ask(visitor.page, 'POST', '/v1/users', { email, role })
  assert.ok(link, `an invitation of ${email}`)
  const other = await Visitor.arrive(browser, demo.origin)
  const { page } = other
  await page.goto(link)
  await page.getByLabel(/^Password/).fill(PASSWORD)
  await page.getByLabel('I am 18 or older').check()
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByText('Simulated data.').waitFor()
  return other
}

/** @type {Map<string, Promise<Visitor>>} */
const colleagues = new Map()

/** The one colleague with a role, whoever asks first. */
export function colleague(stage, role) {
  if (!colleagues.has(role)) colleagues.set(role, arrived(stage, `${role}@demo.example`, role))
  return colleagues.get(role)
}

/** The part of a page below a heading. */
export function part(page, heading) {
  const title = page.getByRole('heading', { name: heading, exact: true })
  return page.locator('section').filter({ has: title })
}

/** Chooses an option of a field in a dialog. */
export async function choose(page, scope, label, option) {
  await scope.getByRole('combobox', { name: label, exact: true }).click()
  await page.getByRole('option', { name: option, exact: true }).click()
}

/** A device that reported once; answers its id, its name and the time of the reading. */
export async function reporting({ demo, visitor }, name) {
  const { device, token } = await ask(visitor.page, 'POST', '/v1/devices', { name })
  const ts = Date.now() - 60_000
  assert.equal(await demo.report(token, { ts, values: { temperature: 21.5 } }), 200)
  return { id: device.id, name, at: new Date(ts).toISOString() }
}

// An invitation to a second organisation, for somebody who has an account: signed in, they join.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'

const OWN = { email: 'administrator@organisation.example', password: 'a sentence is fine' }
const NAME = 'Second organisation'

/** Asks the API as the person of a page. */
function ask(page, method, address, body) {
  const request = { method, address, body: JSON.stringify(body) }
  return page.evaluate(async ({ method, address, body }) => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(address, { method, headers, ...(body && { body }) })
    return answer.json()
  }, request)
}

/** The link of an invitation by the platform's administration, for the first of a new tenant. */
async function invitation({ browser, serve }) {
  const answer = await serve.command(['admin', 'link', '--platform', '--data', serve.data])
  const link = /https:\/\/\S+\/welcome#\S+/.exec(answer.output)?.[0]
  assert.ok(link, answer.output)
  const { page, context } = await Visitor.arrive(browser, serve.origin)
  try {
    await page.goto(link)
    await page.getByLabel('E-mail').fill('administration@platform.example')
    await page.getByLabel(/^Password/).fill('another sentence is fine')
    await page.getByLabel('I am 18 or older').check()
    await page.getByRole('button', { name: 'Continue' }).click()
    await page.getByRole('button', { name: 'Account' }).waitFor()
    const made = await ask(page, 'POST', '/v1/tenants', { name: NAME, kind: 'customer' })
    const path = `/v1/tenants/${made.id}/invitations`
    return (await ask(page, 'POST', path, { email: OWN.email })).link
  } finally {
    await context.close()
  }
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function joiningSteps(stage) {
  return [
    {
      name: 'who has an account takes an invitation up with it',
      run: async () => {
        const link = await invitation(stage)
        const visitor = await Visitor.arrive(stage.browser, stage.serve.origin)
        const { page } = visitor
        try {
          await page.goto(link)
          await page.getByRole('heading', { name: 'Welcome' }).waitFor()
          await page.getByRole('button', { name: 'I have an account already' }).click()
          await page.getByRole('heading', { name: `Sign in to join ${NAME}` }).waitFor()
          assert.equal(await page.getByLabel('E-mail').inputValue(), OWN.email)
          await visitor.look('sign in to join')
          await page.getByLabel(/^Password/).fill(OWN.password)
          await page.getByRole('button', { name: 'Sign in', exact: true }).click()
          await page.getByRole('heading', { name: 'No building yet' }).waitFor()
          assert.equal((await ask(page, 'GET', '/v1/session')).tenant.name, NAME)
          const own = await ask(page, 'GET', '/v1/session/tenants')
          assert.equal(own.items.length, 2)
          assert.deepEqual([...visitor.findings], [])
        } finally {
          await visitor.context.close()
        }
      },
    },
  ]
}

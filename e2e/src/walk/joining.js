// Invitations to further organisations, for somebody who has an account: signed in, they join, or
// they make one that the organisation alone knows and are told where it signs in.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'

const OWN = { email: 'administrator@organisation.example', password: 'a sentence is fine' }
const NAME = 'Second organisation'
const ALONE = 'Third organisation'

/** Asks the API as the person of a page. */
export function ask(page, method, address, body) {
  const request = { method, address, body: JSON.stringify(body) }
  return page.evaluate(async ({ method, address, body }) => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(address, { method, headers, ...(body && { body }) })
    return answer.json()
  }, request)
}

/** Links of invitations by the platform's administration, each for the first of a new tenant. */
async function invitations({ browser, serve }, names) {
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
    await page.getByRole('button', { name: 'Account', exact: true }).waitFor()
    const links = []
    for (const name of names) {
      const made = await ask(page, 'POST', '/v1/tenants', { name, kind: 'customer' })
      const path = `/v1/tenants/${made.id}/invitations`
      links.push((await ask(page, 'POST', path, { email: OWN.email })).link)
    }
    return links
  } finally {
    await context.close()
  }
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function joiningSteps(stage) {
  let links = []
  return [
    {
      name: 'who has an account takes an invitation up with it',
      run: async () => {
        links = await invitations(stage, [NAME, ALONE])
        const visitor = await Visitor.arrive(stage.browser, stage.serve.origin)
        const { page } = visitor
        try {
          await page.goto(links[0])
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
    {
      name: 'an account of one organisation alone is told where it signs in',
      run: async () => {
        const visitor = await Visitor.arrive(stage.browser, stage.serve.origin)
        const { page } = visitor
        try {
          await page.goto(links[1])
          await page.getByLabel(/^Password/).fill(OWN.password)
          await page.getByLabel('I am 18 or older').check()
          await page.getByRole('button', { name: 'Continue' }).click()
          await page.getByRole('heading', { name: 'Where you sign in' }).waitFor()
          await visitor.look('where one signs in')
          const address = (await page.locator('pre').first().innerText()).trim()
          await visitor.context.clearCookies()
          await page.goto(address)
          await page.getByLabel('E-mail').fill(OWN.email)
          await page.getByLabel(/^Password/).fill(OWN.password)
          await page.getByRole('button', { name: 'Sign in', exact: true }).click()
          await page.getByRole('heading', { name: 'No building yet' }).waitFor()
          assert.equal((await ask(page, 'GET', '/v1/session')).tenant.name, ALONE)
          await visitor.open('/settings')
          await page.getByText(address).waitFor()
          await page.getByRole('button', { name: 'Leave the organisation' }).waitFor()
          await visitor.look('settings of such an account')
          assert.deepEqual([...visitor.findings], [])
        } finally {
          await visitor.context.close()
        }
      },
    },
  ]
}

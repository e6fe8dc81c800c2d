// The doors: sign-in and sign-out of the demo, and the one-time link of a new platform.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { until } from '../runner.js'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function signInSteps({ demo, visitor }) {
  const { page } = visitor
  const { user, password } = demo.facts.demo
  return [
    {
      name: 'a wrong password is refused in plain words',
      run: async () => {
        visitor.provoked.add('401 /v1/session')
        await visitor.open('/')
        await page.getByRole('heading', { name: 'Sign in' }).waitFor()
        await visitor.look('sign-in')
        await page.getByLabel('E-mail').fill(user)
        await page.getByLabel(/^Password/).fill('not the password')
        await page.getByRole('button', { name: 'Sign in', exact: true }).click()
        await page.getByText('E-mail and password do not match').waitFor()
        await page.getByText('signs in at its own page').waitFor()
        await page.getByRole('button', { name: 'Mail me the address' }).waitFor()
        await visitor.look('sign-in, refused')
      },
    },
    {
      name: 'sign-in leads to the command centre',
      needed: true,
      run: async () => {
        await page.getByLabel('E-mail').fill(user)
        await page.getByLabel(/^Password/).fill(password)
        await page.getByRole('button', { name: 'Sign in', exact: true }).click()
        await page.getByText('Simulated data.').waitFor()
        visitor.provoked.clear()
      },
    },
  ]
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function signOutSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'sign-out ends the session',
      run: async () => {
        await visitor.open('/settings')
        await page.getByRole('button', { name: 'Account', exact: true }).click()
        await page.getByRole('menuitem', { name: 'Sign out' }).click()
        await page.getByRole('heading', { name: 'Sign in' }).waitFor()
        visitor.provoked.add('401 /v1/devices')
        const status = await page.evaluate(async () => (await fetch('/v1/devices')).status)
        assert.equal(status, 401)
        assert.deepEqual(await visitor.context.cookies(), [])
        await visitor.open('/ledger')
        await page.getByRole('heading', { name: 'Sign in' }).waitFor()
      },
    },
  ]
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function welcomeSteps({ browser, serve }) {
  return [
    {
      name: 'the printed link makes the first administrator, once',
      run: async () => {
        const link = await until(
          'a link in the output of serve',
          () => /https:\/\/\S+\/welcome#\S+/.exec(serve.output)?.[0],
        )
        const visitor = await Visitor.arrive(browser, serve.origin)
        const { page } = visitor
        try {
          await page.goto(link)
          await page.getByRole('heading', { name: 'Set up Veritwin' }).waitFor()
          assert.equal(new URL(page.url()).hash, '', 'the token left the address bar')
          await visitor.look('welcome')
          await page.getByLabel('Organisation').fill('First organisation')
          await page.getByLabel('E-mail').fill('administrator@organisation.example')
          await page.getByLabel(/^Password/).fill('a sentence is fine')
          const create = page.getByRole('button', { name: 'Create the organisation' })
          assert.ok(await create.isDisabled(), 'nobody gets in without the attestation')
          await page.getByLabel('I am 18 or older').check()
          await create.click()
          await page.getByRole('heading', { name: 'No building yet' }).waitFor()
          await visitor.look('empty command centre')
          await page.getByRole('link', { name: 'Add a building' }).click()
          await page.getByRole('heading', { name: 'Twins' }).waitFor()
          for (const address of ['/devices', '/rules', '/alerts', '/ledger']) {
            await visitor.open(address)
            await visitor.look(`new organisation, ${address}`)
          }
          // A one-time link, once used, says so in the page and not only in the answer.
          for (const status of [400, 401, 403, 404, 409, 410]) {
            visitor.provoked.add(`${status} /v1/welcome/inspect`)
          }
          await page.goto('about:blank')
          await page.goto(link)
          await page.getByRole('heading', { name: 'This link does not work' }).waitFor()
          await page.getByText('ask whoever invited you').waitFor()
          assert.equal(await page.getByText('veritwin admin link').count(), 0)
          await visitor.look('used link')
          assert.deepEqual([...visitor.findings], [])
        } finally {
          await visitor.context.close()
        }
      },
    },
  ]
}

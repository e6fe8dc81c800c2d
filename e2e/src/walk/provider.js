// Sign-in through an organisation's own provider: an administrator sets it up, and somebody new
// comes in through the provider's page, and a member connects their account.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { CLIENT } from '../identity.js'
import { invite, PASSWORD, signIn, takeUp } from './access.js'

const MEMBER = 'ada@people.example'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function providerSteps({ browser, demo, identity, visitor }) {
  const { page } = visitor
  const name = 'House of people'
  return [
    {
      name: 'an administrator sets up the organisation’s own provider',
      run: async () => {
        identity.configure({ redirectUris: [`${demo.origin}/sign-in/return`] })
        await visitor.open('/settings')
        await page.getByRole('button', { name: 'Set up a provider' }).click()
        const form = page.getByRole('dialog')
        await form.getByText(`${demo.origin}/sign-in/return`).waitFor()
        await form.getByLabel('Name on the sign-in page').fill(name)
        await form.getByLabel('Issuer').fill('https://169.254.169.254')
        await form.getByLabel('Client id').fill(CLIENT.id)
        await form.getByLabel('Client secret').fill(CLIENT.secret)
        await form.getByLabel(/^E-mail domains/).fill('people.example')
        await form.getByLabel(/^E-mail domains/).press('Enter')
        await form.getByRole('combobox', { name: 'Whoever is new' }).click()
        await page.getByRole('option', { name: 'becomes: Viewer' }).click()
        visitor.provoked.add('400 /v1/identity-provider')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.getByRole('alert').waitFor()
        await visitor.look('provider, refused')
        await form.getByLabel('Issuer').fill(identity.issuer)
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        visitor.provoked.clear()
        await page.getByText(identity.issuer).waitFor()
        await visitor.look('provider, set')
      },
    },
    {
      name: 'somebody new signs in at the provider’s page and attests',
      run: async () => {
        const stranger = await Visitor.arrive(browser, demo.origin)
        try {
          await comeIn(stranger, { identity, name, demo })
        } finally {
          await stranger.context.close()
        }
      },
    },
    {
      name: 'a member connects their account in the settings',
      run: async () => {
        await takeUp(visitor, await invite(visitor, MEMBER, 'Viewer'))
        const member = await Visitor.arrive(browser, demo.origin)
        try {
          await signIn(member, demo.origin, MEMBER)
          await connect(member, identity)
        } finally {
          await member.context.close()
        }
      },
    },
  ]
}

/** From the settings to the provider's page and back. */
async function connect(member, identity) {
  const { page } = member
  await member.open('/settings')
  await page.getByText('not connected yet').waitFor()
  await member.look('account, not connected')
  await page.getByRole('button', { name: 'Connect the account' }).click()
  const confirm = page.getByRole('dialog', { name: 'Confirm that it is you' })
  await confirm.getByLabel(/^Password/).fill(PASSWORD)
  await confirm.getByRole('button', { name: 'Confirm', exact: true }).click()
  await page.getByRole('heading', { name: 'Provider' }).waitFor()
  await page.getByLabel('Login').fill('ada')
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('connected', { exact: true }).waitFor()
  await member.look('account, connected')
  assert.deepEqual(unexpected(member, identity), [])
}

/** What was found beside the provider's own page and cookies, which are on this machine too. */
function unexpected({ findings }, { issuer }) {
  const expected = (what) =>
    what.startsWith(`foreign request: ${issuer}`) || /^unregistered cookie: _/.test(what)
  return [...findings.keys()].filter((what) => !expected(what))
}

async function comeIn(stranger, { identity, name, demo }) {
  const { page, context } = stranger
  await stranger.open('/devices')
  await page.getByRole('button', { name: `Continue with ${name}` }).waitFor()
  await stranger.look('sign-in with a provider')
  await page.getByRole('button', { name: `Continue with ${name}` }).click()
  await page.getByRole('heading', { name: 'Provider' }).waitFor()
  assert.equal(new URL(page.url()).origin, identity.issuer)
  await page.getByLabel('Login').fill('stranger')
  await page.getByRole('button', { name: 'Sign in' }).click()
  stranger.provoked.add('400 /v1/session/provider/finish')
  await page.getByText('One thing is left before your first sign-in.').waitFor()
  const { search, hash } = new URL(page.url())
  assert.equal(search + hash, '', 'the code left the address bar')
  await stranger.look('attest')
  await page.getByLabel('I am 18 or older').check()
  // The provider knows them by now and asks nothing.
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('heading', { name: 'Devices' }).waitFor()
  await stranger.look('in by a provider')
  const own = (await context.cookies()).filter(({ name: cookie }) => cookie.startsWith('__Host-'))
  assert.deepEqual(own.map(({ name: cookie }) => cookie), ['__Host-session'])
  const session = await page.evaluate(async () => (await fetch('/v1/session')).json())
  assert.deepEqual(session.user.roles, ['viewer'])
  assert.equal(session.tenant.id, demo.facts.demo.tenant)
  assert.deepEqual(unexpected(stranger, identity), [])
}

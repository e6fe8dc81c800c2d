// One's own account: an invitation taken up, a passkey of Chromium's virtual authenticator, an
// authenticator app, sessions.
import assert from 'node:assert/strict'

import { code } from '../authenticator.js'
import { Visitor } from '../browser.js'
import { until } from '../runner.js'

const PASSWORD = 'a sentence is fine'
const EMAIL = 'colleague@organisation.example'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function accountSteps({ browser, demo, visitor }) {
  /** @type {Visitor} */
  let colleague
  let secret = ''
  const signIn = async (page) => {
    await page.goto(`${demo.origin}/sign-in`)
    await page.getByLabel('E-mail').fill(EMAIL)
    await page.getByLabel(/^Password/).fill(PASSWORD)
    await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  }
  return [
    {
      name: 'an invitation is handed over and taken up',
      run: async () => {
        await visitor.open('/settings')
        await visitor.page.getByRole('button', { name: 'Invite', exact: true }).click()
        const dialog = visitor.page.getByRole('dialog', { name: 'Invite a colleague' })
        await dialog.getByLabel('E-mail').fill(EMAIL)
        await dialog.getByRole('button', { name: 'Invite', exact: true }).click()
        const link = (await dialog.locator('pre').first().innerText()).trim()
        await visitor.look('invitation')
        await dialog.getByRole('button', { name: 'Done' }).click()
        colleague = await Visitor.arrive(browser, demo.origin)
        const { page } = colleague
        await page.goto(link)
        await page.getByRole('heading', { name: 'Welcome' }).waitFor()
        await page.getByLabel(/^Password/).fill(PASSWORD)
        await page.getByLabel('I am 18 or older').check()
        await colleague.look('invited')
        await page.getByRole('button', { name: 'Continue' }).click()
        await page.getByText('Simulated data.').waitFor()
      },
    },
    {
      name: 'a passkey is made and signs in by itself',
      run: async () => {
        const { page } = colleague
        const devtools = await colleague.context.newCDPSession(page)
        await devtools.send('WebAuthn.enable')
        await devtools.send('WebAuthn.addVirtualAuthenticator', {
          options: {
            protocol: 'ctap2',
            transport: 'internal',
            hasResidentKey: true,
            hasUserVerification: true,
            isUserVerified: true,
            automaticPresenceSimulation: true,
          },
        })
        await colleague.open('/settings')
        await page.getByRole('button', { name: 'Add a passkey' }).click()
        const dialog = page.getByRole('dialog', { name: 'Add a passkey' })
        await dialog.getByLabel('What to call it').fill('Test key')
        await dialog.getByRole('button', { name: 'Make the passkey' }).click()
        await page.getByRole('list', { name: 'Passkeys' }).getByText('Test key').waitFor()
        await colleague.look('passkey')
        await colleague.context.clearCookies()
        await page.goto(`${demo.origin}/sign-in`)
        await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
        await page.getByText('Simulated data.').waitFor()
      },
    },
    {
      name: 'an authenticator app is set up and asked for',
      run: async () => {
        const { page } = colleague
        await colleague.open('/settings')
        await page.getByRole('button', { name: 'Set up the app' }).click()
        const dialog = page.getByRole('dialog', { name: 'Set up an authenticator app' })
        await dialog.getByRole('button', { name: 'Show the code to scan' }).click()
        await dialog.getByRole('img', { name: /QR code/ }).waitFor()
        secret = (await dialog.locator('pre').first().innerText()).trim()
        await colleague.look('authenticator')
        await dialog.getByLabel('The code that the app shows now').fill(code(secret))
        await dialog.getByRole('button', { name: 'Finish' }).click()
        await page.getByRole('button', { name: 'Remove the app' }).waitFor()
        await colleague.context.clearCookies()
        colleague.provoked.add('401 /v1/session')
        await signIn(page)
        const field = page.getByLabel('Code of your authenticator, or a recovery code')
        await field.waitFor()
        await colleague.look('second factor')
        await field.fill(code(secret, 1))
        await page.getByRole('button', { name: 'Sign in', exact: true }).click()
        await page.getByText('Simulated data.').waitFor()
      },
    },
    {
      name: 'sessions are listed and ended',
      run: async () => {
        const { page } = colleague
        await colleague.open('/settings')
        const list = page.getByRole('list', { name: 'Where you are signed in' })
        await list.getByText('this browser').waitFor()
        await page.getByRole('button', { name: 'End all others' }).click()
        await until('one session', async () => (await list.getByRole('listitem').count()) === 1)
        await colleague.look('sessions')
        await page.setViewportSize({ width: 390, height: 780 })
        await colleague.look('account on a phone')
        assert.deepEqual([...colleague.findings], [])
        await colleague.context.close()
      },
    },
  ]
}

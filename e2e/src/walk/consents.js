// Consent at sign-up: nothing ticked, one purpose at a time; then in the settings, and taken back.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { ask } from './joining.js'

const EMAIL = 'consenting@demo.example'
const PASSWORD = 'a sentence is fine'
const NUMBER = '+447700900123'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function consentSteps(stage) {
  return [
    {
      name: 'who signs up agrees to what they tick, and takes it back in the settings',
      run: async () => {
        const invited = await ask(stage.visitor.page, 'POST', '/v1/users', {
          email: EMAIL,
          role: 'viewer',
        })
        assert.ok(invited.link, JSON.stringify(invited))
        const visitor = await Visitor.arrive(stage.browser, stage.demo.origin)
        const { page } = visitor
        try {
          await page.goto(invited.link)
          const box = page.getByLabel('Alerts by SMS')
          await box.waitFor()
          assert.equal(await box.isChecked(), false)
          assert.equal(await page.getByLabel('Letters').isChecked(), false)
          await box.check()
          await page.getByLabel('Telephone number').fill(NUMBER)
          await visitor.look('consent at sign-up')
          await page.getByLabel(/^Password/).fill(PASSWORD)
          await page.getByLabel('I am 18 or older').check()
          await page.getByRole('button', { name: 'Continue' }).click()
          await page.getByRole('button', { name: 'Account', exact: true }).waitFor()
          await visitor.open('/settings')
          const privacy = page.locator('#privacy')
          await privacy.getByText(NUMBER).waitFor()
          await visitor.look('privacy settings')
          await privacy.getByRole('button', { name: 'Withdraw', exact: true }).click()
          await privacy.getByText('withdrawn').waitFor()
          assert.equal(await privacy.getByText(NUMBER).count(), 0)
          const told = await ask(page, 'GET', '/v1/account/privacy')
          const letters = told.consents.find((one) => one.purpose.id === 'postal_correspondence')
          assert.equal(letters.state, 'none')
          await visitor.open('/legal/privacy')
          await page.getByRole('heading', { name: 'Privacy policy' }).waitFor()
          await page.getByText('withdrawing one consent leaves the others').waitFor()
          await visitor.look('privacy policy')
          assert.deepEqual([...visitor.findings], [])
        } finally {
          await visitor.context.close()
        }
      },
    },
  ]
}

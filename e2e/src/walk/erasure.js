// Somebody asks for the erasure of their data, and an officer carries it out by typing whom it is
// about: the person is signed in no more.
import assert from 'node:assert/strict'

import { until } from '../runner.js'
import { confirmTyped } from './inventory.js'
import { arrived, choose, part, status } from './people.js'

const EMAIL = 'leaving@demo.example'
const RIGHT = 'Erase my data'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function erasureSteps(stage) {
  return [
    {
      name: 'an erasure is asked for by a person and carried out by an officer',
      run: async () => {
        const leaving = await arrived(stage, EMAIL, 'viewer')
        try {
          await asksForErasure(leaving)
          assert.deepEqual([...leaving.findings], [])
          await erases(stage.visitor)
          await until(
            'the account is gone',
            async () => (await status(leaving.page, 'GET', '/v1/devices')) === 401,
          )
        } finally {
          await leaving.context.close()
        }
      },
    },
  ]
}

async function asksForErasure(leaving) {
  const { page } = leaving
  await leaving.go('/settings')
  const own = part(page, 'My privacy')
  await own.getByRole('button', { name: 'Use a right' }).click()
  const form = page.getByRole('dialog', { name: 'Use a right' })
  await choose(page, form, 'What should be done', RIGHT)
  await form.getByText('Your account here goes with it').waitFor()
  await leaving.look('asking for an erasure')
  await form.getByRole('button', { name: 'Send' }).click()
  await form.waitFor({ state: 'detached' })
  const row = own.getByRole('listitem').filter({ hasText: RIGHT })
  await row.getByText('open', { exact: true }).waitFor()
}

async function erases(officer) {
  const { page } = officer
  await officer.open('/activity')
  const cases = part(page, 'Requests of data subjects')
  const row = cases.getByRole('listitem').filter({ hasText: RIGHT })
  await row.getByRole('button', { name: 'Open', exact: true }).click()
  const sheet = page.getByRole('dialog', { name: 'Request of a data subject' })
  const about = sheet.locator('.facts > div').filter({ hasText: 'Whom it is about' })
  const subject = await about.locator('dd').innerText()
  await sheet.getByRole('button', { name: 'Erase everything' }).click()
  await page.getByRole('dialog', { name: 'Erase everything' }).waitFor()
  await officer.look('erasing somebody')
  await confirmTyped(page, 'Erase everything', subject, 'Erase everything')
  await sheet.getByText(/^(being erased|answered)$/).first().waitFor()
}

// The pages of whoever answers for tenants: walked in the dark and on a phone, a plan is made and
// removed, and a tenant made.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { confirmTyped } from './inventory.js'
import { settled } from './person.js'

const OWN = { email: 'administration@platform.example', password: 'another sentence is fine' }
const PAGES = ['/customers', '/plans', '/brand', '/operations', '/usage']
const PLAN = 'Small buildings'
export const CUSTOMER = 'Old custom house'

/** Signs in as the platform's administration, whom the walk of invitations made. */
export async function arrives({ browser, serve }) {
  const visitor = await Visitor.arrive(browser, serve.origin, { colorScheme: 'dark' })
  visitor.provoked.add('401 /v1/session')
  await visitor.open('/sign-in')
  await visitor.page.getByLabel('E-mail').fill(OWN.email)
  await visitor.page.getByLabel(/^Password/).fill(OWN.password)
  await visitor.page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await visitor.page.getByRole('button', { name: 'Account', exact: true }).waitFor()
  return visitor
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function platformSteps(stage) {
  return [
    {
      name: 'the platform’s administration walks its pages, makes a plan and a tenant',
      run: async () => {
        const visitor = await arrives(stage)
        const { page } = visitor
        try {
          await visitor.open('/settings')
          for (const width of [1000, 390]) {
            await page.setViewportSize({ width, height: 780 })
            for (const address of PAGES) {
              await visitor.go(address)
              await settled(page)
              if (width === 390) await visitor.fits(`${address} on a phone`)
              else await visitor.look(`${address} in the dark`)
            }
          }
          await page.setViewportSize({ width: 1000, height: 780 })
          await visitor.go('/plans')
          await makesPlan(page)
          await visitor.go('/customers')
          await page.getByRole('button', { name: 'New customer' }).click()
          const form = page.getByRole('dialog', { name: 'New customer' })
          await form.getByLabel('Name').fill(CUSTOMER)
          await visitor.look('new tenant')
          await form.getByRole('button', { name: 'Make it' }).click()
          await form.waitFor({ state: 'detached' })
          await page.getByRole('row').filter({ hasText: CUSTOMER }).waitFor()
          assert.deepEqual([...visitor.findings], [])
        } finally {
          await visitor.context.close()
        }
      },
    },
  ]
}

async function makesPlan(page) {
  await page.getByRole('button', { name: 'New plan' }).click()
  const form = page.getByRole('dialog', { name: 'New plan' })
  await form.getByLabel('Name').fill(PLAN)
  await form.getByRole('button', { name: 'Save' }).click()
  await form.waitFor({ state: 'detached' })
  await page.getByRole('button', { name: `Delete ${PLAN}` }).click()
  await confirmTyped(page, 'Delete the plan', PLAN, 'Delete')
  await page.getByText('No plan yet').waitFor()
}

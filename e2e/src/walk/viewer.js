// Whoever may not change things is not offered to: a viewer, and an operator who reads rules.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { until } from '../runner.js'
import { invite, signIn, takeUp } from './access.js'
import { settled } from './person.js'

const VIEWER = 'viewer@organisation.example'
const OPERATOR = 'operator@organisation.example'
/** What changes something, by the words on it. */
const CHANGES =
  /^(Add|New|Invite|Change|Delete|Remove|Revoke|Save|Set up|Hand in|Ask for|Give|Take|Run the check|Upload|Convert|Place in|Acknowledge|Open an|Device inventory)/

/** The controls in the middle of a page that would change something. */
function changes(page) {
  return page.locator('main').getByRole('button', { name: CHANGES }).allInnerTexts()
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function viewerSteps({ browser, demo, visitor }) {
  /** Signs somebody in with a role and looks at pages in which nothing can be changed. */
  async function looksAt(email, role, work) {
    await takeUp(visitor, await invite(visitor, email, role))
    const other = await Visitor.arrive(browser, demo.origin)
    try {
      await signIn(other, demo.origin, email)
      await work(other)
      assert.deepEqual([...other.findings], [])
    } finally {
      await other.context.close()
    }
  }
  return [
    {
      name: 'a viewer sees no control that would be refused',
      run: () =>
        looksAt(VIEWER, 'Viewer', async (viewer) => {
          const { page } = viewer
          for (const address of ['/devices', '/twins', '/alerts?filter=all', '/promises']) {
            await viewer.open(address)
            await settled(page)
            assert.deepEqual(await changes(page), [], address)
            await viewer.look(`${address} of a viewer`)
          }
          await viewer.open('/devices')
          await page.getByRole('link', { name: /^CH-1/ }).click()
          await page.getByRole('heading', { name: 'CH-1', level: 1 }).waitFor()
          await page.getByText('None: everything it sent was taken').waitFor()
          assert.equal(await page.getByRole('heading', { name: 'Credentials' }).count(), 0)
          assert.deepEqual(await changes(page), [], 'device')
          await viewer.look('a device of a viewer')
          const own = /^(Change the (name|address|password)|Set up the app|Add a passkey)$/
          await viewer.open('/settings')
          await settled(page)
          const left = (await changes(page)).filter((text) => !own.test(text))
          assert.deepEqual(left, [], 'settings')
          await viewer.look('settings of a viewer')
        }),
    },
    {
      name: 'an operator reads the rules and changes none',
      run: () =>
        looksAt(OPERATOR, 'Operator', async (operator) => {
          const { page } = operator
          await operator.open('/rules')
          await page.getByText('Chilled water too warm').first().waitFor()
          assert.deepEqual(await changes(page), [])
          const on = page.getByRole('switch', { name: /^Rule .* is on$/ })
          await until('rules that stand still', async () => await on.first().isDisabled())
          await operator.look('rules of an operator')
        }),
    },
  ]
}

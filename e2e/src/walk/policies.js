// The life of a policy takes two people: it is written, may not be approved by its writer, is
// approved by a second administrator, published and attested, and its next edition is written.
import assert from 'node:assert/strict'

import { ask } from './joining.js'
import { colleague } from './people.js'

const POLICY = 'Keys of the plant room'
const TEXT = 'Keys are signed for.'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function policySteps(stage) {
  const { page } = stage.visitor
  const form = page.getByRole('dialog', { name: 'Write a policy' })
  const sheetOf = async (visitor) => {
    await visitor.open('/governance?tab=policies')
    await visitor.page.getByRole('button', { name: POLICY, exact: true }).click()
    return visitor.page.getByRole('dialog', { name: 'Policy', exact: true })
  }
  const kept = async () => {
    const { items } = await ask(page, 'GET', '/v1/policies')
    return items.find((one) => one.content.title === POLICY)
  }
  return [
    {
      name: 'a policy is written, and its writer does not approve it',
      run: async () => {
        await stage.visitor.open('/governance?tab=policies')
        await page.getByRole('button', { name: 'Write a policy' }).click()
        await form.getByLabel('Title').fill(POLICY)
        await form.getByLabel('Who answers for it').fill('Facility management')
        await form.getByLabel('Text').fill(TEXT)
        await stage.visitor.look('new policy')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        const sheet = await sheetOf(stage.visitor)
        await sheet.getByRole('button', { name: 'Send to review' }).click()
        const approve = sheet.getByRole('button', { name: 'Approve', exact: true })
        await approve.waitFor()
        const made = await kept()
        stage.visitor.provoked.add(`409 /v1/policies/${made.id}/approve`)
        await approve.click()
        await page.getByText('you wrote this edition: somebody else approves it').waitFor()
        await stage.visitor.look('a policy in review')
      },
    },
    {
      name: 'a second administrator approves it, publishes it, and says that they read it',
      run: async () => {
        const other = await colleague(stage, 'administrator')
        const sheet = await sheetOf(other)
        await sheet.getByRole('button', { name: 'Approve', exact: true }).click()
        await sheet.getByRole('button', { name: 'Publish', exact: true }).click()
        const read = sheet.getByRole('button', { name: 'I have read the edition in force' })
        await read.click()
        await read.waitFor({ state: 'detached' })
        const attested = sheet.locator('.facts > div').filter({ hasText: 'Attested by' })
        assert.equal((await attested.locator('dd').innerText()).trim(), '1')
        await sheet.getByText('read and attested', { exact: true }).waitFor()
        await other.look('a policy in force')
        assert.deepEqual([...other.findings], [])
      },
    },
    {
      name: 'the next edition is written, and the one in force stays readable',
      run: async () => {
        const sheet = await sheetOf(stage.visitor)
        await sheet.getByRole('button', { name: 'Write the next edition', exact: true }).click()
        await form.getByLabel(/^Text/).fill('Keys and cards are signed for.')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await sheet.getByText('The edition in force', { exact: true }).waitFor()
        await stage.visitor.look('the next edition of a policy')
        const made = await kept()
        assert.deepEqual([made.state, made.facts.edition, made.facts.attested], ['draft', 1, 1])
        assert.equal(made.facts.in_force.text, TEXT)
        await page.keyboard.press('Escape')
        await sheet.waitFor({ state: 'detached' })
      },
    },
  ]
}

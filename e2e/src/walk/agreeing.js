// In the settings somebody agrees to an optional field, takes the signed record of it along, and
// takes it back.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'

const PURPOSE = 'Letters'
const ADDRESS = '1 Example Street, Exampleton'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function agreeingSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'an optional field is agreed to in the settings, recorded, and taken back',
      run: async () => {
        await visitor.open('/settings')
        const privacy = page.locator('#privacy')
        const row = privacy.locator('.setting').filter({ hasText: PURPOSE })
        await row.getByRole('button', { name: 'Agree', exact: true }).click()
        const form = page.getByRole('dialog', { name: PURPOSE })
        await form.getByLabel('Postal address').fill(ADDRESS)
        await visitor.look('agreeing in the settings')
        await form.getByRole('button', { name: 'I agree' }).click()
        await form.waitFor({ state: 'detached' })
        await row.getByText(ADDRESS).waitFor()
        const coming = page.waitForEvent('download')
        await privacy.getByRole('button', { name: 'Download', exact: true }).click()
        const records = JSON.parse(await readFile(await (await coming).path(), 'utf8'))
        const purposes = records.map((one) => JSON.stringify(one))
        assert.ok(purposes.some((one) => one.includes('postal_correspondence')), purposes.join())
        await row.getByRole('button', { name: 'Withdraw', exact: true }).click()
        await row.getByText('withdrawn').waitFor()
        assert.equal(await privacy.getByText(ADDRESS).count(), 0)
      },
    },
  ]
}

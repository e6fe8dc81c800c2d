// Frameworks of controls and the evidence for them: one is taken, a control of it is decided, and
// evidence is brought of which the digest is kept.
import assert from 'node:assert/strict'

import { choose } from './people.js'

const EVIDENCE = 'The fire drill of this year'
const DIGEST = '5'.repeat(64)

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function evidenceSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a framework is taken and a control of it decided',
      run: async () => {
        await visitor.open('/governance?tab=controls')
        await choose(page, page, 'Framework', 'NIST CSF 2.0')
        await page.getByRole('button', { name: 'Take it', exact: true }).click()
        const framework = page.locator('details').filter({ hasText: 'NIST' })
        await framework.locator('summary').click()
        const control = framework.getByRole('listitem').first()
        const identifier = await control.getByRole('button').innerText()
        await control.getByRole('button').click()
        const form = page.getByRole('dialog', { name: identifier })
        await choose(page, form, 'Does it apply?', 'applies')
        await choose(page, form, 'How far it is', 'in place')
        await visitor.look('a control')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await control.getByText('in place', { exact: true }).waitFor()
        await visitor.look('a framework')
        const coming = page.waitForEvent('download')
        await framework.getByRole('link', { name: /^Statement of applicability/ }).click()
        assert.match((await coming).suggestedFilename(), /\.csv$/)
      },
    },
    {
      name: 'evidence is brought, and its digest stands there',
      run: async () => {
        await page.getByRole('tab', { name: 'Evidence' }).click()
        await page.getByRole('button', { name: 'Bring evidence' }).click()
        const form = page.getByRole('dialog', { name: 'Bring evidence' })
        await form.getByLabel('What it shows').fill(EVIDENCE)
        await form.getByLabel('Where it comes from').fill('Minutes of the drill')
        await form.getByLabel('SHA-256').fill(DIGEST)
        await visitor.look('new evidence')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        const row = page.getByRole('listitem').filter({ hasText: EVIDENCE })
        await row.getByText('counts', { exact: true }).waitFor()
        await row.locator('summary').click()
        await row.getByText(DIGEST).waitFor()
      },
    },
  ]
}

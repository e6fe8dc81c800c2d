// The end of the organisation: asked for by typing its name, told on every page, agreed to by
// nobody whom the one who asked brought in, and taken back.
import assert from 'node:assert/strict'

import { ask } from './joining.js'
import { colleague } from './people.js'

const ASK = 'Ask for the end of the organisation'
const TOLD = 'Somebody asked for the end of this organisation.'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function endingSteps(stage) {
  const { visitor } = stage
  const { page } = visitor
  return [
    {
      name: 'the end of the organisation is asked for, and taken back by another',
      run: async () => {
        // With somebody who could agree it is not decided by itself.
        const other = await colleague(stage, 'administrator')
        const { tenant } = await ask(page, 'GET', '/v1/session')
        await visitor.open('/what-ends-when')
        await page.getByRole('table', { name: 'What ends when' }).waitFor()
        await page.getByRole('button', { name: ASK }).click()
        const sure = page.getByRole('dialog', { name: ASK })
        await sure.getByLabel(/^Why, in words/).fill('The building is sold.')
        await visitor.look('asking for the end')
        await sure.getByLabel(/^Type/).fill(tenant.name)
        await sure.getByRole('button', { name: 'Ask', exact: true }).click()
        await sure.waitFor({ state: 'detached' })
        await page.getByText('asked for; somebody else has to agree').waitFor()
        await visitor.open('/alerts')
        await page.getByText(TOLD).waitFor()

        other.provoked.add('409 /v1/tenant-end/approve')
        await other.open('/what-ends-when')
        await other.page.getByRole('button', { name: 'Agree', exact: true }).click()
        const agree = other.page.getByRole('dialog', { name: /^Agree to the end/ })
        await agree.getByRole('textbox').fill(tenant.name)
        await agree.getByRole('button', { name: 'Agree', exact: true }).click()
        await agree.getByText('one of you brought the other in').waitFor()
        await other.look('agreeing to the end, refused')
        await agree.getByRole('button', { name: 'Cancel' }).click()
        await agree.waitFor({ state: 'detached' })
        await other.page.getByRole('button', { name: 'Take it back' }).click()
        await other.page.getByText('Nobody asked for it.').waitFor()
        assert.equal(await other.page.getByText(TOLD).count(), 0)
        assert.deepEqual([...other.findings], [])
      },
    },
  ]
}

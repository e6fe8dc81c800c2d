// Device profiles: a decoder is begun with an example, tried as it is written, saved, gone back to,
// and removed.
import assert from 'node:assert/strict'

import { confirmTyped } from './inventory.js'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function profileSteps({ visitor }) {
  const { page } = visitor
  const name = 'Hand-made meter'
  const bench = () => page.getByRole('region', { name: 'Test bench' })
  const block = () => page.getByRole('region', { name, exact: true })
  return [
    {
      name: 'a decoder is tried as it is written, and saved',
      run: async () => {
        await visitor.open('/device-profiles')
        await page.getByText('No device profiles yet').waitFor()
        await visitor.look('device profiles')
        await page.getByRole('button', { name: 'Add a profile' }).click()
        await page.getByLabel('Name', { exact: true }).first().fill(name)
        await page.getByRole('button', { name: 'Begin with an example' }).click()
        await page.getByRole('menuitem', { name: /registers/ }).click()
        await bench().getByText('as it should be').waitFor()
        await bench().getByText('"voltage": 230').waitFor()
        await visitor.look('test bench')
        const decoder = page.getByLabel('Decoder', { exact: true })
        const source = await decoder.inputValue()
        await decoder.fill('let a = 1;\n#{ a: payload.u16be(1000) }')
        await bench().getByText('line 2', { exact: false }).waitFor()
        await bench().getByText('read beyond the end', { exact: false }).waitFor()
        await visitor.look('decoder with a mistake')
        await decoder.fill(source)
        await bench().getByText('as it should be').waitFor()
        await page.getByRole('button', { name: 'Save', exact: true }).click()
        await block().waitFor()
      },
    },
    {
      name: 'a profile is changed, gone back to, and removed by typing its name',
      run: async () => {
        await block().getByRole('button', { name: 'Edit' }).click()
        await page.getByLabel('Decoder', { exact: true }).fill('#{ n: payload.len() }')
        await page.getByRole('button', { name: 'Save', exact: true }).click()
        await block().getByRole('button', { name: 'Versions' }).click()
        await block().getByText('Version 2', { exact: false }).waitFor()
        await visitor.look('versions of a profile')
        await block().getByRole('button', { name: 'Go back to it' }).click()
        await block().getByText('Version 3', { exact: false }).waitFor()
        await block().getByRole('button', { name: 'Show the decoder' }).first().click()
        await block().getByText('voltage: payload.u16be(0)', { exact: false }).waitFor()
        await block().getByRole('button', { name: 'Delete', exact: true }).click()
        await confirmTyped(page, 'Delete the profile', name, 'Delete')
        await page.getByText('No device profiles yet').waitFor()
        assert.equal(await block().count(), 0)
      },
    },
  ]
}

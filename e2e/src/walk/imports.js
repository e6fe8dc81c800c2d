// Readings of before come from a file: looked at first, then imported.
import assert from 'node:assert/strict'

import { part, reporting, status } from './people.js'

const FILE = 'readings-of-before.csv'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function importSteps(stage) {
  const { page } = stage.visitor
  return [
    {
      name: 'a file of readings is looked at and imported',
      run: async () => {
        const { id, name, at } = await reporting(stage, 'Meter of before')
        const before = new Date(Date.parse(at) - 3_600_000).toISOString()
        const text = [
          'device_id,device,key,time,value,type,quality',
          `${id},${name},temperature,${before},20.5,double,good`,
          `${id},${name},temperature,not a time,20.5,double,good`,
          '',
        ].join('\n')
        await stage.visitor.open('/imports')
        await page.getByRole('button', { name: 'Import a file' }).click()
        const form = page.getByRole('dialog', { name: 'Import a file' })
        const file = { name: FILE, mimeType: 'text/csv', buffer: Buffer.from(text) }
        await form.locator('input[type=file]').setInputFiles(file)
        await form.getByRole('button', { name: 'Look at it' }).click()
        await form.getByRole('heading', { name: 'What would be refused' }).waitFor()
        await stage.visitor.look('what would be imported')
        await form.getByRole('button', { name: 'Import', exact: true }).click()
        await form.getByText('1 values stored, 1 rows refused.').waitFor()
        await form.getByRole('button', { name: 'Close', exact: true }).last().click()
        await form.waitFor({ state: 'detached' })
        const done = part(page, new RegExp(`^${FILE}`))
        await done.getByText('Whole', { exact: true }).waitFor()
        await done.getByRole('button', { name: '1 refused row' }).click()
        await done.getByText(/^Row \d+/).waitFor()
        await stage.visitor.look('imports')
        assert.equal(await status(page, 'DELETE', `/v1/devices/${id}`), 204)
      },
    },
  ]
}

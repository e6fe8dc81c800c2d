// A package of firmware is kept with its checksum, and deleted by typing its name.
import { createHash } from 'node:crypto'

import { confirmTyped } from './inventory.js'
import { part } from './people.js'

const TITLE = 'Hand-made firmware'
const VERSION = '1.0.1'
const NAME = `${TITLE} ${VERSION}`

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function packageSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a package is kept with its checksum, and deleted by typing its name',
      run: async () => {
        const buffer = Buffer.from('firmware of a test')
        await visitor.open('/packages')
        await page.getByRole('button', { name: 'Upload a package' }).click()
        const form = page.getByRole('dialog', { name: 'Upload a package' })
        const file = { name: 'firmware.bin', mimeType: 'application/octet-stream', buffer }
        await form.locator('input[type=file]').setInputFiles(file)
        await form.getByLabel('Title').fill(TITLE)
        await form.getByLabel('Version').fill(VERSION)
        await visitor.look('new package')
        await form.getByRole('button', { name: 'Keep it' }).click()
        await form.waitFor({ state: 'detached' })
        const kept = part(page, new RegExp(`^${NAME}`))
        await kept.getByText(createHash('sha256').update(buffer).digest('hex')).waitFor()
        await visitor.look('packages')
        await kept.getByRole('button', { name: 'Delete', exact: true }).click()
        await confirmTyped(page, 'Delete the package', NAME, 'Delete')
        await kept.waitFor({ state: 'detached' })
      },
    },
  ]
}

// Devices and buildings: a device made by hand reports with its token, an IFC file is uploaded and
// converted in the browser, and both go again.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import path from 'node:path'

import { ROOT } from '../platform.js'
import { Skip } from '../runner.js'

const CONVERT_TIMEOUT_MS = 90_000

/** Confirms a destructive act by typing the name. */
export async function confirmTyped(page, title, name, action) {
  const dialog = page.getByRole('dialog', { name: title })
  await dialog.getByRole('textbox').fill(name)
  await dialog.getByRole('button', { name: action, exact: true }).click()
  await dialog.waitFor({ state: 'detached' })
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function inventorySteps(stage) {
  return [...deviceSteps(stage), ...twinSteps(stage)]
}

function deviceSteps({ visitor, demo }) {
  const { page } = visitor
  const name = 'Hand-made thermometer'
  return [
    {
      name: 'a new device shows its token once and reports with it',
      run: async () => {
        await visitor.open('/devices')
        await page.getByRole('link', { name: /^RS-/ }).first().waitFor()
        await visitor.look('devices')
        await page.getByRole('button', { name: 'Add a device' }).click()
        const dialog = page.getByRole('dialog', { name: 'Add a device' })
        await dialog.getByLabel('Name').fill(name)
        await visitor.look('new device')
        await dialog.getByRole('button', { name: 'Add and show the token' }).click()
        await dialog.getByText('This token is shown once.').waitFor()
        const token = (await dialog.locator('pre').first().innerText()).trim()
        await visitor.look('token')
        await dialog.getByRole('button', { name: 'I have kept the token' }).click()
        assert.equal(await demo.report(token, { temperature: 21.5 }), 200)
        await page.getByRole('link', { name: new RegExp(`^${name}`) }).click()
        await page.getByRole('heading', { name, level: 1 }).waitFor()
        await page.getByRole('heading', { name: 'temperature' }).waitFor()
        await page.getByRole('img', { name: /lowest/ }).waitFor()
        await page.getByText('None: everything it sent was taken').waitFor()
        await demo.publish(token, 'v1/devices/me/telemetry', '{"temperature": 21.5')
        await page.reload()
        await page.getByText('What it sent cannot be read').waitFor()
        await page.getByText('byte 20', { exact: true }).waitFor()
        assert.ok(!(await page.content()).includes(token), 'the token is shown once')
        await visitor.look('device')
      },
    },
    {
      name: 'its stream is declared, and it is removed by typing its name',
      run: async () => {
        await page.getByRole('button', { name: 'Not personal data' }).click()
        await page.getByText('Is what it reports personal data?').waitFor({ state: 'detached' })
        await page.getByRole('button', { name: 'Remove the device' }).click()
        await confirmTyped(page, 'Remove the device', name, 'Remove')
        await page.getByRole('heading', { name: 'Devices', level: 1 }).waitFor()
        await page.getByRole('link', { name: /^RS-/ }).first().waitFor()
        assert.equal(await page.getByRole('link', { name: new RegExp(`^${name}`) }).count(), 0)
      },
    },
  ]
}

function twinSteps({ visitor }) {
  const { page } = visitor
  const name = 'Duplex'
  const shared = process.env.VERITWIN_SHARED ?? path.join(ROOT, '../shared')
  const file = path.join(shared, 'data/ifc/duplex.ifc')
  return [
    {
      name: 'an IFC file becomes a building, its geometry converted in the browser',
      run: async () => {
        await visitor.open('/twins')
        await page.getByRole('heading', { name: 'Linden Yard' }).waitFor()
        await visitor.look('twins')
        if (!existsSync(file)) throw new Skip(`${file} is not there; VERITWIN_SHARED may name it`)
        await page.locator('input[type=file][accept=".ifc"]').setInputFiles(file)
        await page.getByLabel('Name', { exact: true }).fill(name)
        await page.getByRole('button', { name: 'Upload and convert' }).click()
        await page.getByText(`${name} is ready.`).waitFor({ timeout: CONVERT_TIMEOUT_MS })
        const card = page.locator('.twin-card').filter({ hasText: name })
        assert.match((await card.innerText()).replaceAll('\n', ' '), /Rooms 21/)
        assert.equal(await card.getByText('Rooms only').count(), 0)
        await visitor.look('twins, two')
        const geometry = page.waitForResponse((r) => /\/geometry$/.test(new URL(r.url()).pathname))
        await card.getByRole('link', { name: 'Open' }).click()
        assert.equal((await geometry).status(), 200)
        await page.getByRole('tree').waitFor()
      },
    },
    {
      name: 'the building is deleted by typing its name',
      run: async () => {
        await visitor.open('/twins')
        const card = page.locator('.twin-card').filter({ hasText: name })
        if (!existsSync(file)) throw new Skip('nothing was imported')
        await card.getByRole('button', { name: 'Delete' }).click()
        await confirmTyped(page, 'Delete the building', name, 'Delete')
        await card.waitFor({ state: 'detached' })
      },
    },
  ]
}

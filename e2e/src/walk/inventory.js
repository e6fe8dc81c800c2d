// Devices and buildings: a device made by hand reports with its token, an IFC file is uploaded and
// converted in the browser, and both go again.
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import path from 'node:path'

import { ROOT } from '../platform.js'
import { Skip, until } from '../runner.js'
import { ask } from './joining.js'

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
  let made
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
        await page.getByText('What it sent cannot be read').first().waitFor()
        await page.getByText('byte 20', { exact: true }).first().waitFor()
        assert.ok(!(await page.content()).includes(token), 'the token is shown once')
        await visitor.look('device')
        made = token
      },
    },
    {
      name: 'what it does is seen as it happens, without what was refused',
      run: async () => {
        await page.getByRole('button', { name: 'Watch live traffic' }).click()
        const lines = page.getByRole('list', { name: 'Live traffic' })
        await until('a live reading', async () => {
          assert.equal(await demo.report(made, { temperature: 22.25 }), 200)
          return (await lines.getByText('temperature = 22.25').count()) > 0
        })
        await demo.publish(made, 'v1/devices/me/telemetry', '{"temperature": 99.875')
        await lines.getByText('What it sent cannot be read').first().waitFor()
        assert.ok(!(await lines.innerText()).includes('99.875'), 'what was refused is not shown')
        await page.getByRole('button', { name: 'Pause' }).click()
        await visitor.look('live traffic')
        await page.getByRole('button', { name: 'Stop watching' }).click()
        await page.getByRole('button', { name: 'Watch live traffic' }).waitFor()
      },
    },
    {
      name: 'an attribute is added and taken back, and a call to nobody says so',
      run: async () => {
        await page.getByRole('button', { name: 'Add an attribute' }).click()
        const dialog = page.getByRole('dialog', { name: 'Add an attribute' })
        await dialog.getByLabel('Key').fill('limit')
        await dialog.getByLabel('Value').fill('25')
        await dialog.getByRole('button', { name: 'Save' }).click()
        await dialog.waitFor({ state: 'detached' })
        await page.getByRole('button', { name: 'Delete limit' }).waitFor()
        await page.getByRole('button', { name: 'Undo' }).last().click()
        await page.getByRole('button', { name: 'Delete limit' }).waitFor({ state: 'detached' })
        const { pathname } = new URL(page.url())
        visitor.provoked.add(`503 /v1${pathname}/rpc`)
        await page.getByLabel('Method').fill('blink')
        await page.getByRole('button', { name: 'Send the command' }).click()
        await page.getByText('the device is not connected').first().waitFor()
        visitor.provoked.clear()
      },
    },
    {
      name: 'a device that is silent is simulated, and the simulation is stopped',
      run: async () => {
        const silent = await ask(page, 'POST', '/v1/devices', { name: 'Made-up meter' })
        const back = new URL(page.url()).pathname
        await visitor.open(`/devices/${silent.device.id}`)
        await page.getByRole('button', { name: 'Simulate it' }).click()
        await page.getByText('Simulated', { exact: true }).first().waitFor()
        await page.getByRole('heading', { name: 'humidity' }).waitFor()
        await visitor.look('simulation')
        await page.getByRole('button', { name: 'Stop the simulation' }).click()
        await page.getByRole('button', { name: 'Simulate it' }).waitFor()
        await visitor.open(back)
        await page.getByRole('heading', { name, level: 1 }).waitFor()
        const gone = `/v1/devices/${silent.device.id}`
        const status = await page.evaluate(
          async (address) => (await fetch(address, { method: 'DELETE' })).status,
          gone,
        )
        assert.equal(status, 204)
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

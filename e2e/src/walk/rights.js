// A public zone that is set anew, what somebody gave by consent, the way from a sentence of the
// policy to what shows it, and the pages of privacy and governance in every language.
import assert from 'node:assert/strict'

import { confirmTyped } from './inventory.js'
import { ask } from './joining.js'
import { part, status } from './people.js'
import { settled } from './person.js'

const GUEST = 'Guest of the lobby'
const ZONE = 'Forecourt'
/** Pages and what each is called in English. */
const PAGES = {
  '/governance': 'Governance',
  '/governance?tab=risks': 'Governance',
  '/governance?tab=controls': 'Governance',
  '/breaches': 'Breaches',
  '/registers': 'Registers',
  '/public-zones': 'Public zones',
  '/policy': 'Privacy policy',
  '/promises': 'Promises',
  '/what-ends-when': 'What ends when',
}
const LOCALES = ['zh-Hant', 'ja', 'ko']

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function rightSteps(stage) {
  return [...zoneSteps(stage), ...optInSteps(stage), ...languageSteps(stage)]
}

function zoneSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a public zone is set anew on its page, and ended',
      run: async () => {
        const { device } = await ask(page, 'POST', '/v1/devices', { name: `${ZONE} counter` })
        const amount = { key: 'used', epsilon_milli: 100, kind: 'amount', step: 1, steps_max: 10 }
        await ask(page, 'POST', '/v1/collection-zones', {
          name: ZONE,
          window_minutes: 60,
          budget_milli_per_day: 400,
          measures: [amount],
          output_device_id: device.id,
          device_ids: [],
        })
        await visitor.open('/public-zones')
        const zone = part(page, ZONE)
        await zone.getByRole('button', { name: 'Change', exact: true }).click()
        const form = page.getByRole('dialog', { name: 'Change this zone' })
        await form.getByLabel('Window in minutes').fill('120')
        await visitor.look('a zone that is set anew')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await zone.getByText('120 minutes').waitFor()
        const { items } = await ask(page, 'GET', '/v1/collection-zones')
        const made = items.find((one) => one.name === ZONE)
        assert.deepEqual([made.window_minutes, made.measures[0].steps_max], [120, 10])
        await zone.getByRole('button', { name: 'End', exact: true }).click()
        await confirmTyped(page, 'End this zone', ZONE, 'End')
        await zone.getByText('ended', { exact: true }).waitFor()
        assert.equal(await status(page, 'DELETE', `/v1/devices/${device.id}`), 204)
      },
    },
  ]
}

function optInSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'details that somebody gave by consent are entered, and taken back',
      run: async () => {
        await visitor.open('/public-zones')
        await page.getByRole('button', { name: 'Enter what somebody gave' }).click()
        const form = page.getByRole('dialog', { name: 'Enter what somebody gave' })
        await form.getByLabel('Name').fill(GUEST)
        await form.getByLabel(/^The words that were agreed to/).fill('You may know my name.')
        await form.getByLabel('How the person said so').first().click()
        await page.getByRole('option', { name: 'In writing' }).click()
        await form.getByLabel(/^The person agreed/).check()
        await visitor.look('details by consent')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        const row = page.getByRole('listitem').filter({ hasText: GUEST })
        const identity = (await row.locator('.num').innerText()).trim()
        assert.match(identity, /^[0-9a-f]{8}$/)
        await row.getByRole('button', { name: 'Take back' }).click()
        await confirmTyped(page, 'Take the consent back', identity, 'Take back')
        await row.waitFor({ state: 'detached' })
        const left = page.getByRole('listitem').filter({ hasText: identity })
        await left.getByText('taken back').waitFor()
      },
    },
  ]
}

function languageSteps({ visitor }) {
  const { page } = visitor
  const speak = (locale) =>
    page.evaluate((locale) => localStorage.setItem('veritwin.locale', locale), locale)
  return [
    {
      name: 'a sentence of the policy leads to its promise and its evidence',
      run: async () => {
        await visitor.open('/policy')
        const kept = page.getByRole('link', { name: 'P22', exact: true }).first()
        await kept.waitFor()
        await visitor.look('policy, sentence by sentence')
        await kept.click()
        await page.waitForURL(/\/promises\?.*select=P22/)
        await page.getByText('How it is kept').waitFor()
        await page.getByText('What it may spend').waitFor()
      },
    },
    {
      name: 'privacy and governance in every language, page by page',
      run: async () => {
        try {
          for (const locale of LOCALES) {
            await speak(locale)
            for (const [address, english] of Object.entries(PAGES)) {
              await visitor.open(address)
              await settled(page)
              await page.locator(`html[lang="${locale}"]`).waitFor()
              const title = await page.getByRole('heading', { level: 1 }).innerText()
              assert.notEqual(title.trim(), english, `${address} in ${locale}`)
              await visitor.look(`${address} in ${locale}`)
            }
          }
        } finally {
          await speak('en')
          await visitor.open('/settings')
          await page.locator('html[lang="en"]').waitFor()
        }
      },
    },
  ]
}

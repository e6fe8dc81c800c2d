// The person in front: settings, languages, appearance, keyboard alone, and a phone.
import assert from 'node:assert/strict'

import { unreached } from '../keyboard.js'
import { until } from '../runner.js'

/** Pages of records, forms and registers: by keyboard, and in each language on a phone, too. */
const DESKS = [
  '/imports',
  '/packages',
  '/device-profiles',
  '/routing',
  '/ledger-mail',
  '/public-zones',
  '/registers',
  '/incidents',
  '/breaches',
  '/support',
  '/usage',
  '/policy',
  '/destruction',
  '/what-ends-when',
  '/governance?tab=policies',
  '/governance?tab=risks',
  '/governance?tab=controls',
  '/governance?tab=evidence',
  '/governance?tab=tasks',
  '/governance?tab=certificates',
  '/governance?tab=notices',
]
const PAGES = [
  '/',
  '/alerts',
  '/devices',
  '/streams',
  '/twins',
  '/rules',
  '/ledger',
  '/promises',
  '/activity',
  '/settings',
  '/governance?tab=risks',
  '/breaches',
  '/registers',
  '/what-ends-when',
  '/access?tab=grants',
  '/access?tab=roles',
  '/access?tab=parts',
  '/access?tab=why',
  ...DESKS,
]
const SETTINGS = { 'zh-Hant': '設定', ja: '設定', ko: '설정', en: 'Settings' }

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function personSteps(stage) {
  return [...settingSteps(stage), ...keyboardSteps(stage), ...phoneSteps(stage)]
}

function settingSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'settings: people, keys, certificates; an API key shown once and revoked',
      run: async () => {
        await visitor.open('/settings')
        await page.getByText('valid until').first().waitFor()
        await page.getByRole('heading', { name: 'Which key protects what' }).waitFor()
        await visitor.look('settings')
        await page.getByRole('button', { name: 'New API key' }).click()
        const dialog = page.getByRole('dialog', { name: 'New API key' })
        await dialog.getByLabel('Name').fill('nightly export')
        await dialog.getByRole('button', { name: 'Make the key' }).click()
        await dialog.getByText('This secret is shown once.').waitFor()
        const secret = (await dialog.locator('pre').first().innerText()).trim()
        await visitor.look('API key')
        await dialog.getByRole('button', { name: 'I have kept the secret' }).click()
        const row = page.locator('li').filter({ hasText: 'nightly export' })
        await row.getByRole('button', { name: 'Revoke' }).click()
        const confirm = page.getByRole('dialog', { name: 'Revoke the API key' })
        await confirm.getByRole('textbox').fill('nightly export')
        await confirm.getByRole('button', { name: 'Revoke', exact: true }).click()
        await row.waitFor({ state: 'detached' })
        assert.ok(!(await page.content()).includes(secret), 'the secret is shown once')
      },
    },
    {
      name: 'four languages',
      run: async () => {
        for (const [locale, title] of Object.entries(SETTINGS)) {
          await visitor.open('/settings')
          await page.locator(`select:has(option[value="${locale}"])`).first().selectOption(locale)
          await page.locator(`html[lang="${locale}"]`).waitFor()
          await page.getByRole('heading', { name: title, level: 1 }).waitFor()
          await visitor.look(`settings in ${locale}`)
          if (locale !== 'en') await onPhone(page, () => desksIn(visitor, locale))
        }
      },
    },
    {
      name: 'the dark appearance, page by page',
      run: async () => {
        await visitor.open('/settings')
        await page.getByText('Dark', { exact: true }).click()
        const html = page.locator('html[data-mantine-color-scheme=dark]')
        await html.waitFor()
        for (const address of PAGES) {
          await visitor.go(address)
          await settled(page)
          await html.waitFor()
          await visitor.look(`${address} in the dark`)
        }
        await visitor.open('/settings')
        await page.getByText('Light', { exact: true }).click()
        await page.locator('html[data-mantine-color-scheme=light]').waitFor()
      },
    },
  ]
}

/** Waits until nothing on the page says that it is still loading. */
export function settled(page) {
  return until('the page has loaded', async () => {
    return (await page.locator('[aria-busy=true]').count()) === 0
  })
}

/** Does something at the width of a phone. */
async function onPhone(page, work) {
  const before = page.viewportSize()
  await page.setViewportSize({ width: 390, height: 780 })
  try {
    await work()
  } finally {
    await page.setViewportSize(before)
  }
}

/** Every desk is headed in its language, and fits. */
async function desksIn(visitor, locale) {
  for (const address of DESKS) {
    await visitor.go(address)
    await settled(visitor.page)
    const title = await visitor.page.locator('h1').first().innerText()
    assert.match(title, /[^\x00-\x7f]/, `${address} in ${locale}`)
    await visitor.fits(`${address} in ${locale}`)
  }
}

function focused(page) {
  return page.evaluate(() => {
    const element = document.activeElement
    return element?.getAttribute('aria-label') ?? element?.textContent?.trim() ?? ''
  })
}

function keyboardSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'the keyboard alone: skip link, order of focus, tree, palette',
      run: async () => {
        await visitor.open('/')
        await page.getByRole('treeitem').first().waitFor()
        const order = []
        for (let i = 0; i < 32; i += 1) {
          await page.keyboard.press('Tab')
          order.push(await focused(page))
        }
        assert.equal(order[0], 'Skip to the content')
        const places = ['Account', 'Alerts', 'Settings', 'Search rooms and devices'].map((name) =>
          order.findIndex((label) => label.startsWith(name)),
        )
        const sorted = [...places].sort((a, b) => a - b)
        assert.ok(!places.includes(-1) && String(places) === String(sorted), order.join(' > '))
        await page.getByRole('treeitem').first().focus()
        await page.keyboard.press('ArrowDown')
        await until('focus on the second row', async () => {
          const second = page.getByRole('treeitem').nth(1)
          return second.evaluate((element) => element === document.activeElement)
        })
        await page.keyboard.press('Enter')
        await page.waitForURL(/select=/)
        await page.keyboard.press('Control+k')
        const palette = page.getByRole('dialog', { name: 'Search everything' })
        await palette.getByRole('combobox').waitFor()
        await visitor.look('palette')
        await page.keyboard.type('ledger')
        await page.keyboard.press('Enter')
        await page.getByRole('heading', { name: 'Ledger', level: 1 }).waitFor()
        await until('focus on the heading', async () => (await focused(page)) === 'Ledger')
        await page.keyboard.press('Control+k')
        await palette.waitFor()
        await page.keyboard.press('Escape')
        await palette.waitFor({ state: 'detached' })
      },
    },
    {
      name: 'the keyboard reaches every control of the desks',
      run: async () => {
        await visitor.open('/settings')
        for (const address of DESKS) {
          await visitor.go(address)
          await settled(page)
          assert.deepEqual(await unreached(page), [], address)
        }
      },
    },
  ]
}

function phoneSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a phone of 390 px, page by page',
      run: () =>
        onPhone(page, async () => {
          await visitor.open('/settings')
          for (const address of PAGES) {
            await visitor.go(address)
            await settled(page)
            await visitor.look(`${address} on a phone`)
          }
          await visitor.open('/')
          await page.getByRole('button', { name: 'Rooms' }).click()
          await page.getByRole('dialog').getByRole('tree').waitFor()
          await page.getByRole('dialog').getByRole('treeitem').nth(1).click()
          await page.getByRole('dialog', { name: 'Details' }).waitFor()
          await visitor.look('details on a phone')
        }),
    },
  ]
}

// Pictures of every page at three widths, light and dark, for people to look at: e2e/out/*.png.
import path from 'node:path'

import { say, until } from './runner.js'
import { OUT, withStage } from './stage.js'
import { settled } from './walk/person.js'

const PAGES = {
  centre: '/',
  table: '/?view=table',
  plan: '/?view=plan',
  heat: '/?heat=temperature',
  alerts: '/alerts?filter=all',
  devices: '/devices',
  streams: '/streams',
  twins: '/twins',
  rules: '/rules',
  ledger: '/ledger',
  promises: '/promises',
  activity: '/activity',
  incidents: '/incidents',
  support: '/support',
  settings: '/settings',
  access: '/access',
  roles: '/access?tab=roles',
  why: '/access?tab=why',
}
const DARK = ['centre', 'heat', 'alerts', 'ledger', 'promises', 'settings', 'roles']
const JAPANESE = ['centre', 'ledger', 'promises', 'rules']
const SIZES = { 390: 844, 1280: 800, 2560: 1300 }
const ALERT_TIMEOUT_MS = 150_000

await withStage(async (stage) => {
  const { page, context } = stage.visitor
  const { user, password } = stage.demo.facts.demo
  const shoot = async (name) => {
    await page.screenshot({ path: path.join(OUT, `${name}.png`) })
    say(name)
  }
  const show = async (address) => {
    await stage.visitor.open(address)
    await settled(page)
    if (!/^\/(\?|$)/.test(address) || address.includes('view=table')) return
    await until('a drawn building', async () => (await stage.visitor.drawn()).triangles > 2_000)
  }
  await stage.visitor.open('/')
  await shoot('sign-in-1000-light')
  await page.getByLabel('E-mail').fill(user)
  await page.getByLabel(/^Password/).fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByRole('link', { name: /Critical:? ?[1-9]/ }).waitFor({ timeout: ALERT_TIMEOUT_MS })
  await page.setViewportSize({ width: 1600, height: 1000 })
  await show('/')
  await shoot('command-centre')
  await page.getByRole('button', { name: /Critical/ }).first().click()
  await page.getByText('What usually helps').waitFor()
  await shoot('alert-1600-light')
  await page.getByRole('button', { name: /^Papers of/ }).first().click()
  await page.getByText('Which leaf of the ledger').waitFor()
  await shoot('papers-1600-light')
  for (const [width, height] of Object.entries(SIZES)) {
    await page.setViewportSize({ width: Number(width), height })
    for (const [name, address] of Object.entries(PAGES)) {
      await show(address)
      await shoot(`${name}-${width}-light`)
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.emulateMedia({ colorScheme: 'dark' })
  for (const name of DARK) {
    await show(PAGES[name])
    await shoot(`${name}-1280-dark`)
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.evaluate(() => localStorage.setItem('veritwin.locale', 'ja'))
  for (const name of JAPANESE) {
    await show(PAGES[name])
    await shoot(`${name}-1280-ja`)
  }
  await context.close()
})

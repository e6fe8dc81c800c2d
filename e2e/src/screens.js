// Pictures of every page at three widths, light and dark, for people to look at: e2e/out/*.png.
import path from 'node:path'

import { Visitor } from './browser.js'
import { say, until } from './runner.js'
import { OUT, withStage } from './stage.js'
import { ask } from './walk/joining.js'
import { settled } from './walk/person.js'

const PAGES = {
  centre: '/',
  table: '/?view=table',
  plan: '/?view=plan',
  heat: '/?heat=temperature',
  alerts: '/alerts?filter=all',
  devices: '/devices',
  streams: '/streams',
  imports: '/imports',
  packages: '/packages',
  profiles: '/device-profiles',
  twins: '/twins',
  rules: '/rules',
  routing: '/routing',
  ledger: '/ledger',
  'ledger-mail': '/ledger-mail',
  promises: '/promises',
  policy: '/policy',
  legal: '/legal/privacy',
  'public-zones': '/public-zones',
  registers: '/registers',
  activity: '/activity',
  incidents: '/incidents',
  breaches: '/breaches',
  governance: '/governance',
  risks: '/governance?tab=risks',
  controls: '/governance?tab=controls',
  evidence: '/governance?tab=evidence',
  support: '/support',
  settings: '/settings',
  usage: '/usage',
  destruction: '/destruction',
  'what-ends-when': '/what-ends-when',
  governance: '/governance',
  risks: '/governance?tab=risks',
  controls: '/governance?tab=controls',
  breaches: '/breaches',
  registers: '/registers',
  requests: '/requests',
  access: '/access',
  roles: '/access?tab=roles',
  why: '/access?tab=why',
}
/** Pages of whoever answers for tenants. */
const PARTNER_PAGES = {
  customers: '/customers',
  plans: '/plans',
  brand: '/brand',
  operations: '/operations',
  'platform-activity': '/activity',
  'platform-settings': '/settings',
}
const DARK = ['centre', 'heat', 'alerts', 'streams', 'ledger', 'promises', 'settings', 'roles']
const JAPANESE = ['centre', 'ledger', 'promises', 'rules']
const SIZES = { 390: 844, 1280: 800, 2560: 1300 }
const ALERT_TIMEOUT_MS = 150_000
const OPENED_TIMEOUT_MS = 60_000

/** What moves into its place is shown when it is there. */
async function shoot(page, name) {
  await page.screenshot({ path: path.join(OUT, `${name}.png`), animations: 'disabled' })
  say(name)
}

/** A device that is watched while it reports. */
async function traffic(page, show, device) {
  for (const [width, height] of Object.entries(SIZES)) {
    await page.setViewportSize({ width: Number(width), height })
    await show(`/devices/${device}`)
    await page.getByRole('button', { name: 'Watch live traffic' }).click()
    await page.getByText('Values stored').first().waitFor({ timeout: OPENED_TIMEOUT_MS })
    await shoot(page, `traffic-${width}-light`)
  }
}

/** The pages of the demo's people. */
async function demoPages({ demo, visitor }) {
  const { page, context } = visitor
  const { user, password } = demo.facts.demo
  const show = async (address) => {
    await visitor.open(address)
    await settled(page)
    if (!/^\/(\?|$)/.test(address) || address.includes('view=table')) return
    await until('a drawn building', async () => (await visitor.drawn()).triangles > 2_000)
  }
  await visitor.open('/')
  await shoot(page, 'sign-in-1000-light')
  await page.getByLabel('E-mail').fill(user)
  await page.getByLabel(/^Password/).fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByRole('link', { name: /Critical:? ?[1-9]/ }).waitFor({ timeout: ALERT_TIMEOUT_MS })
  await page.setViewportSize({ width: 1600, height: 1000 })
  await show('/')
  await shoot(page, 'command-centre')
  await page.getByRole('button', { name: /Critical/ }).first().click()
  await page.getByText('What usually helps').waitFor()
  await shoot(page, 'alert-1600-light')
  await page.getByRole('button', { name: /^Papers of/ }).first().click()
  await page.getByText('Which leaf of the ledger').waitFor({ timeout: OPENED_TIMEOUT_MS })
  await shoot(page, 'papers-1600-light')
  const [device] = (await ask(page, 'GET', '/v1/devices?limit=1')).items
  for (const [width, height] of Object.entries(SIZES)) {
    await page.setViewportSize({ width: Number(width), height })
    for (const [name, address] of Object.entries({ ...PAGES, device: `/devices/${device.id}` })) {
      await show(address)
      await shoot(page, `${name}-${width}-light`)
    }
  }
  await traffic(page, show, device.id)
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.emulateMedia({ colorScheme: 'dark' })
  for (const name of DARK) {
    await show(PAGES[name])
    await shoot(page, `${name}-1280-dark`)
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.evaluate(() => localStorage.setItem('veritwin.locale', 'ja'))
  for (const name of JAPANESE) {
    await show(PAGES[name])
    await shoot(page, `${name}-1280-ja`)
  }
  await context.close()
}

/** The pages of the platform's administration, and of whoever it invites. */
async function partnerPages({ browser, serve }) {
  const answer = await serve.command(['admin', 'link', '--platform', '--data', serve.data])
  const link = /https:\/\/\S+\/welcome#\S+/.exec(answer.output)?.[0]
  if (link === undefined) throw new Error(answer.output)
  const visitor = await Visitor.arrive(browser, serve.origin)
  const { page, context } = visitor
  await page.goto(link)
  await page.getByLabel('E-mail').fill('administration@platform.example')
  await page.getByLabel(/^Password/).fill('another sentence is fine')
  await page.getByLabel('I am 18 or older').check()
  await shoot(page, 'welcome-1000-light')
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('button', { name: 'Account', exact: true }).waitFor()
  const make = (name, kind) => ask(page, 'POST', '/v1/tenants', { name, kind })
  const partner = await make('Harbour integrators', 'partner')
  for (const name of ['North pier', 'South quay', 'Old custom house']) await make(name, 'customer')
  for (const [width, height] of Object.entries(SIZES)) {
    await page.setViewportSize({ width: Number(width), height })
    for (const [name, address] of Object.entries(PARTNER_PAGES)) {
      await visitor.open(address)
      await settled(page)
      await shoot(page, `${name}-${width}-light`)
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.emulateMedia({ colorScheme: 'dark' })
  for (const [name, address] of Object.entries(PARTNER_PAGES)) {
    await visitor.open(address)
    await settled(page)
    await shoot(page, `${name}-1280-dark`)
  }
  const invitation = await ask(page, 'POST', `/v1/tenants/${partner.id}/invitations`, {
    email: 'administration@integrator.example',
  })
  await context.close()
  const invited = await Visitor.arrive(browser, serve.origin)
  for (const [width, height] of Object.entries(SIZES)) {
    await invited.page.setViewportSize({ width: Number(width), height })
    await invited.page.goto(invitation.link)
    await invited.page.getByRole('heading', { name: 'Welcome' }).waitFor()
    await shoot(invited.page, `invitation-${width}-light`)
  }
  await invited.context.close()
}

await withStage(async (stage) => {
  await demoPages(stage)
  await partnerPages(stage)
})

// Chromium that trusts the platforms' own authority and nothing else new, with watchers: console
// errors, policy violations, foreign requests and unknown cookies are collected on every page.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'

import { chromium } from 'playwright-core'

const exec = promisify(execFile)
const CHROMIUM = process.env.VERITWIN_CHROMIUM ?? '/usr/bin/chromium'
const IN_PAGE = new URL('./in-page.js', import.meta.url).pathname
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js')
const COOKIE = '__Host-session'

const ARGS = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost',
]

/** Puts the authorities into the key stores where Chromium on Linux looks for them. */
async function trust(home, authorities) {
  for (const place of ['.pki/nssdb', '.local/share/pki/nssdb']) {
    const store = `sql:${path.join(home, place)}`
    await mkdir(path.join(home, place), { recursive: true })
    await exec('certutil', ['-d', store, '-N', '--empty-password'])
    for (const [i, pem] of authorities.entries()) {
      const file = path.join(home, `authority-${i}.pem`)
      await writeFile(file, pem)
      await exec('certutil', ['-d', store, '-A', '-t', 'C,,', '-n', `veritwin ${i}`, '-i', file])
    }
  }
}

/**
 * @param {string} home a folder of its own
 * @param {string[]} authorities PEM
 */
export async function launch(home, authorities) {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing; Debian: chromium`)
  await trust(home, authorities)
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: ARGS,
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: path.join(home, '.config') },
  })
}

/** One person at one platform: a context with its page and what was seen there. */
export class Visitor {
  /**
   * @param {import('playwright-core').Browser} browser
   * @param {string} origin
   * @param {object} [options] of the context
   */
  static async arrive(browser, origin, options = {}) {
    const context = await browser.newContext({
      locale: 'en-GB',
      timezoneId: 'Europe/Berlin',
      viewport: { width: 1000, height: 640 },
      reducedMotion: 'no-preference',
      colorScheme: 'light',
      ...options,
    })
    await context.addInitScript({ path: IN_PAGE })
    context.setDefaultTimeout(15_000)
    return new Visitor(context, await context.newPage(), origin)
  }

  /** @param {import('playwright-core').BrowserContext} context */
  constructor(context, page, origin) {
    this.context = context
    this.page = page
    this.origin = origin
    /** @type {string[]} */
    this.complaints = []
    /** Answers that a step provokes on purpose, as "STATUS /path". */
    this.provoked = new Set()
    /** @type {Record<string, unknown>[]} */
    this.live = []
    page.on('console', (message) => this.#heard(message))
    page.on('pageerror', (error) => this.complaints.push(`exception: ${error.message}`))
    context.on('request', (request) => this.#asked(request.url()))
    page.on('websocket', (socket) => {
      this.#asked(socket.url().replace(/^wss:/, 'https:'))
      socket.on('framereceived', ({ payload }) => this.#received(String(payload)))
    })
  }

  #heard(message) {
    if (message.type() !== 'error') return
    const { url } = message.location()
    const status = /status of (\d+)/.exec(message.text())?.[1]
    const pathname = URL.canParse(url) ? new URL(url).pathname : url
    if (status !== undefined && this.provoked.has(`${status} ${pathname}`)) return
    this.complaints.push(`console on ${this.page.url()}: ${message.text()} (${pathname})`)
  }

  #asked(url) {
    if (/^(data|blob):/.test(url)) return
    if (new URL(url).origin !== this.origin) this.complaints.push(`foreign request: ${url}`)
  }

  #received(text) {
    this.live.push(JSON.parse(text))
    if (this.live.length > 500) this.live.shift()
  }

  /** Opens a page of ours as a reader would, and waits for its heading. */
  async open(address) {
    await this.page.goto(`${this.origin}${address}`)
    await this.page.locator('h1').first().waitFor()
  }

  /** Fails when anything was complained about since the last time, or a cookie is unknown. */
  async assertCalm() {
    const cookies = await this.context.cookies()
    for (const cookie of cookies) {
      const { name, secure, httpOnly, sameSite } = cookie
      if (name !== COOKIE) this.complaints.push(`unregistered cookie: ${name}`)
      else if (!secure || !httpOnly || sameSite !== 'Strict') {
        this.complaints.push(`cookie ${name}: not Secure, HttpOnly, SameSite=Strict`)
      }
    }
    const found = this.complaints.splice(0)
    if (found.length > 0) throw new Error(found.join('\n'))
  }

  /** Fails on serious or critical findings of axe on what is shown now. */
  async assertAccessible(label) {
    await this.page.evaluate(await readFile(AXE, 'utf8'))
    const findings = await this.page.evaluate(async () => {
      const { violations } = await window.axe.run(document, { resultTypes: ['violations'] })
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, impact, nodes }) => {
          const places = nodes.slice(0, 4).map((n) => `${n.target.join(' ')}: ${n.html}`)
          return `${impact} ${id} (${nodes.length}): ${places.join(' | ')}`
        })
    })
    if (findings.length > 0) throw new Error(`axe, ${label}:\n${findings.join('\n')}`)
  }

  /** Fails when the page is wider than its window. */
  async assertFits() {
    const [wide, room] = await this.page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ])
    if (wide > room) throw new Error(`${this.page.url()} is ${wide} px wide in ${room} px`)
  }

  /** Everything that holds on every page. */
  async assertSound(label) {
    await this.assertAccessible(label)
    await this.assertFits()
    await this.assertCalm()
  }

  drawn() {
    return this.page.evaluate(() => ({ ...window.drawn }))
  }
}

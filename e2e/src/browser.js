// Chromium that trusts the platforms' own authority and nothing else new, with watchers: console
// errors, policy violations, foreign requests, unknown cookies and findings of axe are collected.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { promisify } from 'node:util'

import { chromium } from 'playwright-core'

import { until } from './runner.js'

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
    /** @type {Map<string, string>} finding to the place where it was first seen */
    this.findings = new Map()
    this.looked = 0
    /** Answers that a step provokes on purpose, as "STATUS /path". */
    this.provoked = new Set()
    /** @type {Record<string, unknown>[]} */
    this.live = []
    page.on('console', (message) => this.#heard(message))
    page.on('pageerror', (error) => this.note(`exception: ${error.message}`))
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
    this.note(`console: ${message.text()} (${pathname})`)
  }

  #asked(url) {
    if (/^(data|blob):/.test(url)) return
    if (new URL(url).origin !== this.origin) this.note(`foreign request: ${url}`)
  }

  #received(text) {
    this.live.push(JSON.parse(text))
    if (this.live.length > 500) this.live.shift()
  }

  /** Opens a page of ours as a reader would, and waits until it stands. */
  async open(address) {
    await this.page.goto(`${this.origin}${address}`)
    await this.page.locator('h1, .centre').first().waitFor()
  }

  /** Goes from one page to another as a link does, without loading everything anew. */
  async go(address) {
    const tab = new URL(address, this.origin).searchParams.get('tab')
    await this.page.evaluate((to) => {
      // A page that is reached shows what was not there before.
      for (const left of document.querySelectorAll('.page, .centre, .door')) left.dataset.left = ''
      history.pushState(history.state, '', to)
    }, address)
    const shown =
      tab === null
        ? ':is(.page, .centre, .door):not([data-left])'
        : `[role=tab][aria-selected=true][id$="-tab-${tab}"]`
    await this.page.locator(shown).first().waitFor()
  }

  /** Notes whether the page fits into its window, without the rest of a look. */
  async fits(label) {
    for (const finding of await this.#tooWide()) this.note(finding, label)
  }

  /** Looks over what is shown now; what is wrong is kept for the end of the walk. */
  async look(label) {
    const found = [...(await this.#unreadable()), ...(await this.#tooWide())]
    for (const finding of found) this.note(finding, label)
    const cookies = await this.context.cookies()
    for (const { name, secure, httpOnly, sameSite } of cookies) {
      if (name !== COOKIE) this.note(`unregistered cookie: ${name}`, label)
      else if (!secure || !httpOnly || sameSite !== 'Strict') {
        this.note(`cookie ${name}: not Secure, HttpOnly, SameSite=Strict`, label)
      }
    }
    this.looked += 1
  }

  /** Notes a finding once, with the first place where it was seen. */
  note(finding, label = this.page.url()) {
    if (!this.findings.has(finding)) this.findings.set(finding, label)
  }

  /** Serious and critical findings of axe. */
  async #unreadable() {
    await this.page.evaluate(await readFile(AXE, 'utf8'))
    // What fades in or out is judged when it has come or gone.
    // In a closed part of the page an animation stands still, and its end never comes.
    await this.page.evaluate(() => {
      const ends = document
        .getAnimations()
        .filter(({ effect }) => effect?.getComputedTiming().endTime !== Infinity)
        .map(({ finished }) => finished)
      const enough = new Promise((wake) => setTimeout(wake, 2_000))
      return Promise.race([Promise.allSettled(ends), enough]).then(() => undefined)
    })
    // A dialog that was only just put there has not begun to fade in yet.
    await until('dialogs have faded in', () =>
      this.page.evaluate(() => {
        const isWhole = (element) =>
          element === null ||
          (getComputedStyle(element).opacity === '1' && isWhole(element.parentElement))
        const isShown = (element) => element.getClientRects().length > 0
        return [...document.querySelectorAll('[role=dialog]')].filter(isShown).every(isWhole)
      }),
    )
    return this.page.evaluate(async () => {
      const { violations } = await window.axe.run(document, { resultTypes: ['violations'] })
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .flatMap(({ id, impact, nodes }) =>
          nodes.slice(0, 3).map(({ target, html, failureSummary }) => {
            const why = failureSummary.split('\n').slice(1, 2).join('').trim()
            return `axe, ${impact}: ${id} at ${target.join(' ')}: ${why} ${html.slice(0, 160)}`
          }),
        )
    })
  }

  /** A page must not be wider than its window. */
  async #tooWide() {
    const [wide, room] = await this.page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ])
    return wide > room ? [`${new URL(this.page.url()).pathname}: ${wide} px in ${room} px`] : []
  }

  drawn() {
    return this.page.evaluate(() => ({ ...window.drawn }))
  }
}

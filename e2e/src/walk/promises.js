// The promise board: how many stand how, what is missing where nothing is evidenced, and one
// promise from its sentence to the entry of the ledger, by the keyboard alone.
import assert from 'node:assert/strict'

import { until } from '../runner.js'
import { ask } from './joining.js'

const PROMISES = 62
/** Of which this version has nothing to check. */
const ABSENT = 'P28'
const SHOWN = 'P22'
// On two cores the first round of checks takes minutes.
const PROVEN_TIMEOUT_MS = 240_000
/** Of those that are not evidenced, opened one after the other. */
const OPENED_MAX = 4
const MEBIBYTE = 1024 * 1024
const STATES = {
  failing: 'Failing',
  stale: 'Stale',
  proven: 'Proven',
  not_evidenced: 'Not evidenced',
  not_applicable: 'Not applicable',
}
const SCOPES = {
  nobody: 'What it makes itself, in organisations of nobody',
  platform: 'The platform',
  everybody: 'The platform and what it keeps of everybody; it counts, and shows nothing',
}
/** How what is missing is said. */
const MISSING = [
  /^there is nothing to check: ./,
  /^the operator has to bring evidence: ./,
  /^the check could not run: ./,
  /^no check of this version has come to a conclusion/,
  /last checked ./,
]

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function promiseSteps(stage) {
  return [...countSteps(stage), ...missingSteps(stage), ...keyboardSteps(stage)]
}

/** The row of a promise, which opens it. */
function rowOf(page, id) {
  return page.getByRole('button', { name: new RegExp(`^${id}`) })
}

function filterOf(page, state) {
  const group = page.getByRole('group', { name: 'Filter by state' })
  return group.getByRole('button', { name: new RegExp(`${STATES[state]}$`) })
}

/** What the board counts, and the rows that it shows, by state, in one look. */
function board(page) {
  return page.evaluate(() => {
    const counts = {}
    for (const button of document.querySelectorAll('.promise-summary button')) {
      counts[button.dataset.state] = Number(button.querySelector('.promise-count').textContent)
    }
    const rows = Object.fromEntries(Object.keys(counts).map((state) => [state, 0]))
    for (const row of document.querySelectorAll('.promise')) rows[row.dataset.state] += 1
    return { counts, rows }
  })
}

function countSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'the promise board counts by state, and every promise is in one',
      run: async () => {
        await visitor.open('/promises')
        await rowOf(page, ABSENT).waitFor()
        const { counts, rows } = await board(page)
        assert.deepEqual(Object.keys(counts), Object.keys(STATES))
        assert.deepEqual(counts, rows)
        const all = Object.values(counts).reduce((sum, count) => sum + count, 0)
        assert.equal(all, PROMISES)
        for (const state of Object.keys(STATES)) await filterOf(page, state).waitFor()
        await page.getByText(`${PROMISES} promises`, { exact: true }).waitFor({ state: 'attached' })
        return Object.entries(counts)
          .map(([state, count]) => `${count} ${state}`)
          .join(', ')
      },
    },
  ]
}

function missingSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'what is not evidenced says what is missing',
      run: async () => {
        await visitor.open('/promises')
        const filter = filterOf(page, 'not_evidenced')
        await filter.click()
        await page.waitForURL(/filter=not_evidenced/)
        await page.locator('.promise:not([data-state=not_evidenced])').first().waitFor({
          state: 'detached',
        })
        assert.equal(await filter.getAttribute('aria-pressed'), 'true')
        const { counts, rows } = await board(page)
        assert.ok(counts.not_evidenced > 0)
        assert.equal(rows.not_evidenced, counts.not_evidenced)
        const ids = await page.locator('.promise-id').allInnerTexts()
        assert.ok(ids.includes(ABSENT), ids.join(', '))
        for (const id of [...ids.slice(0, OPENED_MAX), ABSENT]) {
          const row = rowOf(page, id)
          if ((await row.getAttribute('aria-expanded')) === 'false') await row.click()
          const said = page.locator(`#promise-${id} .promise-reason`)
          const text = await said.innerText()
          assert.ok(MISSING.some((form) => form.test(text)), `${id}: ${text}`)
        }
        const absent = page.locator(`#promise-${ABSENT}`)
        assert.match(
          await absent.locator('.promise-reason').innerText(),
          /^there is nothing to check: This version has no licences/,
        )
        assert.equal(await page.locator('.promise-body').count(), 1, 'one is open at a time')
        const age = rowOf(page, ABSENT).locator('.promise-age')
        assert.equal((await age.innerText()).trim(), '—', 'never checked')
        await visitor.look('promises that are not evidenced')
        await filter.click()
        await page.locator('.promise[data-state=proven]').first().waitFor()
        assert.equal(await filter.getAttribute('aria-pressed'), 'false')
        assert.equal(await page.locator('.promise').count(), PROMISES)
      },
    },
  ]
}

/** A promise that is proven and whose evidence is in the ledger, as the interface tells it. */
function evidenced(page, id) {
  return until(
    `${id} proven and sealed`,
    async () => {
      const { items } = await ask(page, 'GET', '/v1/promises')
      const found = items.find((one) => one.id === id)
      const isSealed = found.evidence?.ledger_index != null && !found.evidence.is_leaf_earlier
      return found.state === 'proven' && isSealed ? found : null
    },
    { timeoutMs: PROVEN_TIMEOUT_MS, everyMs: 1_000 },
  )
}

/** Presses Tab until something has the focus. */
async function tabTo(page, target, pressesMax) {
  const isThere = () => target.evaluate((element) => element === document.activeElement)
  for (let pressed = 0; pressed < pressesMax; pressed += 1) {
    if (await isThere()) return
    await page.keyboard.press('Tab')
  }
  assert.ok(await isThere(), `not reached within ${pressesMax} presses of Tab`)
}

/** What an opened promise says of something. */
function fact(body, name) {
  const named = body.page().locator('dt', { hasText: new RegExp(`^${name}$`) })
  return body.locator('dl.facts > div').filter({ has: named }).locator('dd').first().innerText()
}

function keyboardSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a promise opens by the keyboard alone, from its sentence to its entry in the ledger',
      run: async () => {
        await visitor.open('/promises')
        const promise = await evidenced(page, SHOWN)
        await visitor.open('/promises')
        const row = rowOf(page, SHOWN)
        await row.waitFor()
        await page.locator('#main').focus()
        await tabTo(page, row, PROMISES + 20)
        assert.equal(await row.getAttribute('aria-expanded'), 'false')
        await page.keyboard.press('Enter')
        const body = page.locator(`#promise-${SHOWN}`)
        await body.waitFor()
        assert.equal(await row.getAttribute('aria-expanded'), 'true')
        await page.waitForURL(new RegExp(`select=${SHOWN}`))
        await tellsOf(body, promise)
        await agesOf(row, promise)
        const seen = body.locator('summary', { hasText: 'What the check saw' })
        await tabTo(page, seen, 5)
        await page.keyboard.press('Enter')
        await body.locator('details[open] .facts').waitFor()
        const again = body.getByRole('button', { name: 'Run the check now' })
        await tabTo(page, again, 5)
        await visitor.look('a promise opened by the keyboard')
        await page.keyboard.press('Shift+Tab')
        await page.keyboard.press('Shift+Tab')
        await tabTo(page, row, 1)
        await page.keyboard.press('Space')
        await body.waitFor({ state: 'detached' })
      },
    },
  ]
}

/** Its sentence, what looks at it, how often and at what price, and what was found. */
async function tellsOf(body, promise) {
  const hours = Math.round(promise.interval_seconds / 3600)
  const minutes = Math.ceil(promise.timeout_seconds / 60)
  const mebibytes = Math.floor(promise.io_bytes_max / MEBIBYTE)
  const price = `${promise.cpu_seconds_max} s of processor time, ${mebibytes} MiB read and written`
  const expected = {
    Source: promise.source,
    'How it is kept': promise.feature,
    'What the check looks at': SCOPES[promise.scope],
    'How often, and how long it may take': `every ${hours} h, ${minutes} min`,
    'What it may spend': price,
    'Evidence in the ledger': `Entry ${promise.evidence.ledger_index} of the platform’s own log`,
  }
  for (const [name, text] of Object.entries(expected)) {
    assert.equal((await fact(body, name)).trim(), text, name)
  }
  assert.equal(await body.locator('.promise-reason').innerText(), promise.evidence.summary)
  assert.notEqual(await fact(body, 'Next check'), '—')
}

/** How old what was found is, on its row. */
async function agesOf(row, promise) {
  const age = row.locator('.promise-age time')
  const at = await age.getAttribute('datetime')
  assert.equal(Date.parse(at), Date.parse(promise.checked_at))
  assert.match(await age.innerText(), /\d.*ago$/)
}

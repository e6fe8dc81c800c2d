// Rights that people use themselves: a limit and its end, a correction that an officer answers, and
// the copy of everything that is kept. Then the life of a policy, which takes two people, and the
// pages of privacy and governance in every language.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'

import { Visitor } from '../browser.js'
import { confirmTyped } from './inventory.js'
import { ask } from './joining.js'
import { settled } from './person.js'

const PASSWORD = 'a sentence is fine'
const SUBJECT = 'subject@demo.example'
const APPROVER = 'approver@demo.example'
const WORDS = 'My name is spelt with two n.'
const POLICY = 'Keys of the building'
const GUEST = 'Guest of the lobby'
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
  return [
    ...ownSteps(stage),
    ...optInSteps(stage),
    ...policySteps(stage),
    ...languageSteps(stage),
  ]
}

/** Somebody new in the organisation, signed in. */
async function colleague({ browser, demo, visitor }, email, role) {
  const invited = await ask(visitor.page, 'POST', '/v1/users', { email, role })
  assert.ok(invited.link, JSON.stringify(invited))
  const person = await Visitor.arrive(browser, demo.origin)
  const { page } = person
  await page.goto(invited.link)
  await page.getByLabel(/^Password/).fill(PASSWORD)
  await page.getByLabel('I am 18 or older').check()
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('button', { name: 'Account', exact: true }).waitFor()
  return person
}

/** Asks for a right in one's own settings. */
async function useRight(page, right, words) {
  await page.getByRole('button', { name: 'Use a right' }).click()
  const dialog = page.getByRole('dialog', { name: 'Use a right' })
  await dialog.getByRole('combobox', { name: 'What should be done' }).click()
  await page.getByRole('option', { name: right }).click()
  if (words !== undefined) await dialog.getByLabel(/^In your words/).fill(words)
  await dialog.getByRole('button', { name: 'Send' }).click()
  await dialog.waitFor({ state: 'detached' })
}

/** An officer answers what somebody wrote. */
async function answered({ visitor }, words, text) {
  const { page } = visitor
  await visitor.open('/activity')
  const row = page.getByRole('listitem').filter({ hasText: words })
  await row.getByRole('button', { name: 'Open', exact: true }).click()
  const sheet = page.getByRole('dialog', { name: 'Request of a data subject' })
  await sheet.getByRole('button', { name: 'Answer', exact: true }).click()
  await sheet.getByLabel(/^In your words/).fill(text)
  await sheet.getByRole('button', { name: 'Send' }).click()
  await sheet.getByText('answered', { exact: true }).waitFor()
  await page.keyboard.press('Escape')
  await sheet.waitFor({ state: 'detached' })
}

function ownSteps(stage) {
  return [
    {
      name: 'somebody uses their rights themselves: a limit, a correction, a copy',
      run: async () => {
        const person = await colleague(stage, SUBJECT, 'viewer')
        const { page } = person
        try {
          await person.open('/settings')
          const limit = 'Keep my data and do nothing else with it'
          await useRight(page, limit)
          const row = page.getByRole('listitem').filter({ hasText: limit })
          await row.getByText('answered', { exact: true }).waitFor()
          await person.look('own rights')
          await row.getByRole('button', { name: 'Take back' }).click()
          await row.getByText('taken back', { exact: true }).waitFor()
          await useRight(page, 'Correct my data', WORDS)
          await answered(stage, WORDS, 'It has two n now.')
          await person.open('/settings')
          await page.getByText('It has two n now.').waitFor()
          const fetched = page.waitForEvent('download')
          await page.getByRole('button', { name: 'Download my data' }).click()
          const download = await fetched
          assert.equal(download.suggestedFilename(), 'my-data.zip')
          const copy = (await readFile(await download.path())).toString('latin1')
          assert.ok(copy.startsWith('PK') && copy.includes(SUBJECT) && copy.includes(WORDS))
          assert.ok(!copy.includes(stage.demo.facts.demo.user), 'nobody else is in it')
          assert.deepEqual([...person.findings], [])
        } finally {
          await person.context.close()
        }
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
      },
    },
  ]
}

function policySteps(stage) {
  const { visitor } = stage
  const { page } = visitor
  const drawer = page.getByRole('dialog', { name: 'Policy', exact: true })
  const press = (name) => drawer.getByRole('button', { name, exact: true }).click()
  const shows = (state) => drawer.getByText(state, { exact: true }).first().waitFor()
  const open = async (reader) => {
    await reader.open('/governance')
    await reader.page.getByRole('button', { name: POLICY, exact: true }).click()
  }
  return [
    {
      name: 'a policy is written, approved by somebody else, published, attested, written again',
      run: async () => {
        await visitor.open('/governance')
        await page.getByRole('button', { name: 'Write a policy' }).click()
        const form = page.getByRole('dialog', { name: 'Write a policy' })
        await form.getByLabel('Title').fill(POLICY)
        await form.getByLabel(/^Text/).fill('Nobody lends a key.')
        await visitor.look('new policy')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await page.getByRole('button', { name: POLICY, exact: true }).click()
        await press('Send to review')
        await shows('in review')
        await visitor.look('a policy in review')
        const approver = await colleague(stage, APPROVER, 'security_lead')
        try {
          await open(approver)
          const theirs = approver.page.getByRole('dialog', { name: 'Policy', exact: true })
          await theirs.getByRole('button', { name: 'Approve', exact: true }).click()
          await theirs.getByText('approved', { exact: true }).first().waitFor()
          await approver.look('a policy that was approved')
          assert.deepEqual([...approver.findings], [])
        } finally {
          await approver.context.close()
        }
        await open(visitor)
        await press('Publish')
        await shows('published')
        await press('I have read the edition in force')
        await shows('read and attested')
        await press('Write the next edition')
        await form.getByLabel(/^Text/).fill('Nobody lends a key or a card.')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await drawer.getByText('The edition in force').waitFor()
        await visitor.look('the next edition of a policy')
        const [made] = (await ask(page, 'GET', '/v1/policies')).items.filter(
          (one) => one.content.title === POLICY,
        )
        assert.deepEqual([made.state, made.facts.edition, made.facts.attested], ['draft', 1, 1])
        assert.equal(made.facts.in_force.text, 'Nobody lends a key.')
        await page.keyboard.press('Escape')
        await drawer.waitFor({ state: 'detached' })
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

// A request of somebody without an account through to its answer, a breach drill from its opening
// to its end, the life of a risk, and the trust page from its publication to its withdrawal.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { ask } from './joining.js'
import { confirmTyped } from './inventory.js'
import { choose } from './people.js'

const WORDS = 'My street is spelt otherwise.'
const ADDRESS = 'somebody@elsewhere.example'
const BREACH = 'Drill: a lost disk'
const RISK = 'The plant room floods'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function privacySteps(stage) {
  return [...caseSteps(stage), ...breachSteps(stage), ...riskSteps(stage), ...trustSteps(stage)]
}

function caseSteps({ browser, demo, visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a request without an account is answered by an officer, in words',
      run: async () => {
        const session = await ask(page, 'GET', '/v1/session')
        const guest = await Visitor.arrive(browser, demo.origin)
        try {
          await guest.open(`/requests?organisation=${session.tenant.id}`)
          const form = guest.page
          await form.getByRole('combobox', { name: 'What should be done' }).click()
          await form.getByRole('option', { name: 'Correct my data' }).click()
          await form.getByLabel('E-mail').fill(ADDRESS)
          await form.getByLabel(/^In your words/).fill(WORDS)
          await guest.look('request form')
          await form.getByRole('button', { name: 'Send' }).click()
          await form.getByText('We have your request; its number is').waitFor()
          assert.deepEqual([...guest.findings], [])
        } finally {
          await guest.context.close()
        }
        await visitor.open('/activity')
        const row = page.getByRole('listitem').filter({ hasText: WORDS })
        await row.getByText('open', { exact: true }).waitFor()
        await visitor.look('requests of data subjects')
        await row.getByRole('button', { name: 'Open', exact: true }).click()
        const sheet = page.getByRole('dialog', { name: 'Request of a data subject' })
        const known = sheet.getByRole('button', { name: 'I know who it is' })
        await known.click()
        await sheet.getByRole('button', { name: 'Send' }).click()
        await known.waitFor({ state: 'detached' })
        await visitor.look('one request of a data subject')
        await sheet.getByRole('button', { name: 'Answer', exact: true }).click()
        await sheet.getByLabel(/^In your words/).fill('It is corrected.')
        await visitor.look('answer to a request')
        await sheet.getByRole('button', { name: 'Send' }).click()
        await sheet.getByText('answered', { exact: true }).waitFor()
        await page.keyboard.press('Escape')
        await sheet.waitFor({ state: 'detached' })
        await row.waitFor({ state: 'detached' })
      },
    },
  ]
}

function breachSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a breach drill: an incomplete notice is refused, whole ones are written down',
      run: async () => {
        await visitor.open('/breaches')
        await page.getByRole('button', { name: 'Open a breach' }).click()
        const dialog = page.getByRole('dialog', { name: 'Open a breach' })
        await dialog.getByLabel('Title').fill(BREACH)
        await dialog.getByLabel(/^This is a drill/).check()
        await visitor.look('new breach')
        await dialog.getByRole('button', { name: 'Open', exact: true }).click()
        const drawer = page.getByRole('dialog', { name: 'Breach (drill)' })
        await drawer.getByText('A whole notice still lacks:').waitFor()
        await visitor.look('one breach')
        const [made] = (await ask(page, 'GET', '/v1/breaches')).items.filter(
          (one) => one.content.title === BREACH,
        )
        visitor.provoked.add(`400 /v1/breaches/${made.id}/notices`)
        const send = drawer.getByRole('button', { name: 'Send (drill: nothing leaves)' })
        await send.click()
        await drawer.getByRole('alert').waitFor()
        for (const [label, text] of [
          ['What happened, and to which people and records', 'A disk was lost on the way.'],
          ['Likely consequences', 'Names may be read.'],
          ['Measures taken and proposed', 'The disk is sealed.'],
          ['Whom to ask', 'privacy@demo.example'],
          ['Authority', 'The authority'],
          ['Address of the authority', 'authority@demo.example'],
        ]) {
          await drawer.getByLabel(label, { exact: true }).fill(text)
        }
        await choose(page, drawer, 'Risk for the people concerned', 'a high risk')
        await drawer.getByRole('button', { name: 'Save what is known' }).click()
        await drawer.getByText('lacks: About how many people; About how many records').waitFor()
        await send.click()
        await drawer.getByText('First notice: The authority (1)').waitFor()
        await drawer.getByText('a notice to the people concerned; a final notice').waitFor()
        await visitor.look('a breach that still owes notices')
        await drawer.getByLabel('About how many people', { exact: true }).fill('12')
        await drawer.getByLabel('About how many records', { exact: true }).fill('120')
        await drawer.getByRole('button', { name: 'Save what is known' }).click()
        await drawer.getByText('A whole notice still lacks:').waitFor({ state: 'detached' })
        await choose(page, drawer, 'Phase', 'Final notice')
        await choose(page, drawer, 'Language of the notice', '日本語')
        await send.click()
        await drawer.getByText('Final notice: The authority (1)').waitFor()
      },
    },
    {
      name: 'a high risk closes only with the ground on which people are not told',
      run: async () => {
        const drawer = page.getByRole('dialog', { name: 'Breach (drill)' })
        const [made] = (await ask(page, 'GET', '/v1/breaches')).items.filter(
          (one) => one.content.title === BREACH,
        )
        const close = drawer.getByRole('button', { name: 'Close the breach' })
        visitor.provoked.add(`409 /v1/breaches/${made.id}/close`)
        await drawer.getByLabel('Conclusion').fill('Nothing had left.')
        await close.click()
        await drawer.getByRole('alert').waitFor()
        await choose(
          page,
          drawer,
          'On which ground the people concerned are not told',
          'No unauthorised person can read the data (Article 34(3)(a))',
        )
        await drawer.getByLabel(/^What that ground rests on/).fill('The disk is encrypted.')
        await visitor.look('a ground on which people are not told')
        await drawer.getByRole('button', { name: 'Save what is known' }).click()
        await drawer.getByText('Still owed:').waitFor({ state: 'detached' })
        await drawer.getByLabel('Conclusion').fill('Nothing had left.')
        await close.click()
        await close.waitFor({ state: 'detached' })
        const closed = await ask(page, 'GET', `/v1/breaches/${made.id}`)
        assert.equal(closed.state, 'closed')
        const { notices } = closed.facts
        assert.deepEqual(
          notices.map(({ phase, is_drill, texts }) => [phase, is_drill, texts[0].language]),
          [
            ['first', true, 'en'],
            ['final', true, 'ja'],
          ],
        )
      },
    },
  ]
}

function riskSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a risk is written down, changed, and closed; its history is told in words',
      run: async () => {
        await visitor.open('/governance?tab=risks')
        await page.getByRole('button', { name: 'Write down a risk' }).click()
        const form = page.getByRole('dialog', { name: 'Write down a risk' })
        await form.getByLabel('What may happen').fill(RISK)
        await form.getByLabel('Who answers for it').fill('Facility management')
        await visitor.look('new risk')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await page.getByRole('button', { name: RISK, exact: true }).click()
        const drawer = page.getByRole('dialog', { name: 'Risk', exact: true })
        await drawer.getByRole('button', { name: 'Change', exact: true }).click()
        await form.getByLabel('Impact without measures').fill('5')
        await form.getByRole('button', { name: 'Save' }).click()
        await form.waitFor({ state: 'detached' })
        await drawer.getByText('3 × 5').waitFor()
        await drawer.getByRole('button', { name: 'Close the risk' }).click()
        await drawer.getByText('closed', { exact: true }).first().waitFor()
        await drawer.getByText('changed', { exact: true }).click()
        const change = drawer.locator('details[open]')
        await change.getByText('Impact').first().waitFor()
        assert.match(await change.innerText(), /3[\s\S]*→[\s\S]*5/)
        assert.equal(await drawer.locator('pre').count(), 0, 'no JSON')
        await visitor.look('history of a risk')
      },
    },
  ]
}

function trustSteps({ browser, demo, visitor }) {
  const { page } = visitor
  return [
    {
      name: 'the trust page is published, read by anybody, and withdrawn',
      run: async () => {
        const { tenant } = await ask(page, 'GET', '/v1/session')
        await visitor.open('/registers')
        await page.getByRole('button', { name: 'Publish the page' }).click()
        await visitor.look('publishing the trust page')
        await confirmTyped(page, 'Publish the trust page', tenant.name, 'Publish the page')
        const link = page.getByRole('link', { name: 'Open the page' })
        await link.waitFor()
        await visitor.look('registers with a trust page')
        const address = await link.getAttribute('href')
        const guest = await Visitor.arrive(browser, demo.origin)
        try {
          await guest.open(address)
          await guest.page.getByRole('heading', { name: tenant.name }).waitFor()
          assert.equal(await guest.page.locator('.promises > li').count(), 62)
          await guest.look('trust page')
          assert.deepEqual([...guest.findings], [])
        } finally {
          await guest.context.close()
        }
        await page.getByRole('button', { name: 'Withdraw the page' }).click()
        await confirmTyped(page, 'Withdraw the trust page', tenant.name, 'Withdraw the page')
        await page.getByText('No page is published.').waitFor()
      },
    },
  ]
}

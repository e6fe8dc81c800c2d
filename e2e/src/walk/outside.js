// The pages without an account: each in four languages on a phone, light and dark; a link of a
// receipt that is not complete says so and changes nothing.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { settled } from './person.js'

const FORMS = ['/requests', '/withdraw', '/reset', '/confirm-email']
const TEXTS = ['terms', 'dpa', 'sub-processors', 'jurisdictions']
/** Languages of browsers, and how they like their pages. */
const READERS = { 'en-GB': 'light', 'zh-TW': 'dark', 'ja-JP': 'light', 'ko-KR': 'dark' }
/** Every letter of English. */
const ENGLISH = /^[\x00-\x7f]*$/

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function outsideSteps({ browser, demo }) {
  async function reads(locale, colorScheme) {
    const viewport = { width: 390, height: 780 }
    const guest = await Visitor.arrive(browser, demo.origin, { locale, colorScheme, viewport })
    const { page } = guest
    try {
      await guest.open('/legal/privacy')
      for (const address of FORMS) {
        await guest.go(address)
        await settled(page)
        const label = `${address} without an account, ${locale}`
        const isEnglish = ENGLISH.test(await page.locator('h1').innerText())
        assert.equal(isEnglish, locale === 'en-GB', label)
        if (locale.startsWith('en') || locale.startsWith('ko')) await guest.look(label)
        else await guest.fits(label)
      }
      if (locale === 'en-GB') await asks(guest)
      assert.deepEqual([...guest.findings], [])
    } finally {
      await guest.context.close()
    }
  }
  return [
    {
      name: 'the pages without an account, in four languages',
      run: async () => {
        for (const [locale, scheme] of Object.entries(READERS)) await reads(locale, scheme)
      },
    },
  ]
}

async function asks(guest) {
  const { page } = guest
  for (const text of TEXTS) {
    await guest.open(`/legal/${text}`)
    await page.getByText(/^Version \d+, in force since/).waitFor()
    await guest.fits(`/legal/${text}`)
  }
  guest.provoked.add('404 /v1/consent-withdrawal')
  await guest.open('/withdraw#not-a-link')
  await page.getByRole('button', { name: 'Withdraw', exact: true }).click()
  await page.getByText('This link is not complete.').waitFor()
  assert.equal(new URL(page.url()).hash, '', 'the token left the address bar')
}

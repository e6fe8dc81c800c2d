// The brand: colours that cannot be read are refused, a name, colours and a logo are set, and
// whoever comes to the sign-in page of an organisation below sees them.
import assert from 'node:assert/strict'

import { PNG } from 'pngjs'

import { Visitor } from '../browser.js'
import { CUSTOMER, arrives } from './platform.js'

const NAME = 'Northlight'
const LIGHT = '#1d3f8f'

/** A square of one colour. @returns {Buffer} */
function logo() {
  const picture = new PNG({ width: 32, height: 32 })
  picture.data.fill(Buffer.from([0x1d, 0x3f, 0x8f, 0xff]))
  return PNG.sync.write(picture)
}

async function saves(page) {
  const answer = page.waitForResponse(
    (one) => new URL(one.url()).pathname === '/v1/brand' && one.request().method() === 'PUT',
  )
  await page.getByRole('button', { name: 'Save', exact: true }).click()
  return (await answer).status()
}

async function sees(browser, origin, organisation) {
  const visitor = await Visitor.arrive(browser, origin)
  const { page } = visitor
  try {
    await visitor.open(`/sign-in?organisation=${organisation}`)
    await page.locator('.door-brand').getByText(NAME, { exact: true }).waitFor()
    await page.locator('.door-organisation').getByText(CUSTOMER, { exact: true }).waitFor()
    await page.locator('img.brand-logo').waitFor()
    // The brand is the platform's own here.
    await page.getByText('The operator of this platform answers for it.').waitFor()
    const brand = await page.evaluate(() =>
      getComputedStyle(document.documentElement).getPropertyValue('--brand').trim(),
    )
    assert.equal(brand, LIGHT)
    await visitor.look('a branded sign-in page')
    assert.deepEqual([...visitor.findings], [])
  } finally {
    await visitor.context.close()
  }
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function brandSteps(stage) {
  return [
    {
      name: 'a brand is set, and whoever signs in below sees it',
      run: async () => {
        const visitor = await arrives(stage)
        const { page } = visitor
        try {
          await visitor.open('/brand')
          await page.getByLabel('Product name').fill(NAME)
          await page.getByLabel('Colour, light').fill('#ffffff')
          visitor.provoked.add('400 /v1/brand')
          assert.equal(await saves(page), 400, 'white on white')
          await page.getByText(/cannot be read in the light scheme/).waitFor()
          await page.getByLabel('Colour, light').fill(LIGHT)
          await page.getByLabel('Colour, dark').fill('#9db8f5')
          assert.equal(await saves(page), 200)
          const file = { name: 'logo.png', mimeType: 'image/png', buffer: logo() }
          await page.locator('input[type=file][accept="image/png"]').setInputFiles(file)
          await page.getByRole('button', { name: 'Remove the logo' }).waitFor()
          await visitor.look('brand with its preview')
          const organisation = await page.evaluate(async (name) => {
            const { items } = await (await fetch('/v1/tenants?limit=200')).json()
            return items.find((one) => one.name === name)?.id
          }, CUSTOMER)
          assert.ok(organisation, 'the tenant that was made')
          await sees(stage.browser, stage.serve.origin, organisation)
          // As it was: others look at this platform after this.
          await page.getByRole('button', { name: 'Remove the logo' }).click()
          await page.getByRole('button', { name: 'Choose a logo' }).waitFor()
          const fields = ['Product name', 'Colour, light', 'Colour, dark']
          for (const field of fields) await page.getByLabel(field, { exact: true }).fill('')
          assert.equal(await saves(page), 200)
          assert.deepEqual([...visitor.findings], [])
        } finally {
          await visitor.context.close()
        }
      },
    },
  ]
}

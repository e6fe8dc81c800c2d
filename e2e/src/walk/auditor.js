// An auditor comes in by invitation, finds a record in the ledger as it was sealed, and takes
// evidence along that verifies without the platform. A reading is found by who may read it.
import assert from 'node:assert/strict'
import path from 'node:path'

import { until } from '../runner.js'
import { ask } from './joining.js'
import { choose, colleague, part, reporting, status } from './people.js'

const LOOKUP = 'Find a reading or a record'

/** Asks until what was written a moment ago is sealed. */
async function find(visitor, found) {
  const button = part(visitor.page, LOOKUP).getByRole('button', { name: 'Find', exact: true })
  visitor.provoked.add('404 /v1/ledger/lookup')
  await until('the sealed record', async () => {
    await button.click()
    return found.waitFor({ timeout: 2_000 }).then(
      () => true,
      () => false,
    )
  })
  visitor.provoked.delete('404 /v1/ledger/lookup')
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function auditorSteps(stage) {
  const { demo, scratch, visitor } = stage
  return [
    {
      name: 'an auditor finds a record as it was sealed and takes evidence along',
      run: async () => {
        const auditor = await colleague(stage, 'auditor')
        const { page } = auditor
        await auditor.open('/ledger')
        await page.getByText('Signature checked in this browser: it holds.').waitFor()
        await page.getByText('Neutral archive', { exact: true }).waitFor()
        const [record] = (await ask(page, 'GET', '/v1/activity?limit=1')).items
        const lookup = part(page, LOOKUP)
        await lookup.getByLabel('Id').fill(record.id)
        await find(auditor, lookup.getByText('is what was sealed', { exact: true }))
        await lookup.getByText('Record with its proof').waitFor()
        await auditor.look('ledger of an auditor')
        const evidence = part(page, 'Evidence for an auditor')
        assert.equal(await evidence.getByRole('combobox').count(), 0, 'devices are not theirs')
        await evidence.getByLabel('Entry numbers, separated by commas').fill('0')
        const coming = page.waitForEvent('download')
        await evidence.getByRole('button', { name: 'Download the evidence' }).click()
        const bundle = path.join(scratch, 'evidence-of-auditor.zip')
        await (await coming).saveAs(bundle)
        const { ledger_vkey: vkey } = demo.facts.demo
        const verified = await demo.command(['ledger', 'verify', bundle, '--vkey', vkey])
        assert.equal(verified.code, 0, verified.output)
        assert.deepEqual([...auditor.findings], [])
      },
    },
    {
      name: 'a reading is found in the ledger by device, key and time',
      run: async () => {
        const { page } = visitor
        const meter = await reporting(stage, 'Meter in the ledger')
        await visitor.open('/ledger')
        const lookup = part(page, LOOKUP)
        await lookup.getByRole('combobox', { name: 'Device', exact: true }).fill(meter.name)
        await page.getByRole('option', { name: meter.name }).click()
        await lookup.getByLabel('Key').fill('temperature')
        await lookup.getByLabel(/^Time, such as/).fill(meter.at)
        const sealed = lookup.getByText('sealed', { exact: true }).first()
        await find(visitor, sealed)
        await visitor.look('a reading in the ledger')
        await choose(page, lookup, 'What', 'Everything about an alert, a consent or a case')
        await sealed.waitFor({ state: 'detached' })
        assert.equal(await status(page, 'DELETE', `/v1/devices/${meter.id}`), 204)
      },
    },
  ]
}

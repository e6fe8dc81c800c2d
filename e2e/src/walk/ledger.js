// The ledger: checkpoint and entry verified in the browser; export, verification and the finding
// of one changed byte by the command line.
import assert from 'node:assert/strict'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function ledgerSteps({ visitor, demo, scratch }) {
  const { page } = visitor
  const folder = path.join(scratch, 'export')
  return [
    {
      name: 'the newest checkpoint and an entry verify in the browser',
      run: async () => {
        await visitor.open('/ledger')
        await page.getByText('Signature checked in this browser: it holds.').waitFor()
        await page.getByRole('region', { name: 'Entries' }).getByRole('button').first().click()
        const entry = page.getByRole('dialog', { name: /^Entry/ })
        await entry.getByRole('button', { name: 'Verify in this browser' }).click()
        await entry.getByText('Verified here, in this browser, just now: the batch is in the log.').waitFor()
        assert.equal(await entry.locator('.steps [data-outcome=passed]').count(), 4)
        await visitor.look('ledger')
      },
    },
    {
      name: 'evidence verifies in a page from the disk, and a changed byte turns it red',
      run: async () => {
        await visitor.open('/ledger')
        const part = page.getByRole('region', { name: 'Evidence for an auditor' })
        await part.getByLabel('Entry numbers, separated by commas').fill('0, 1')
        const coming = page.waitForEvent('download')
        await part.getByRole('button', { name: 'Download the evidence' }).click()
        const bundle = path.join(scratch, 'evidence.zip')
        await (await coming).saveAs(bundle)
        const { ledger_vkey: vkey } = demo.facts.demo
        const verified = await demo.command(['ledger', 'verify', bundle, '--vkey', vkey])
        assert.equal(verified.code, 0, verified.output)
        const whole = stored(await readFile(bundle), 'index.html')
        const changed = Buffer.from(whole)
        changed[whole.indexOf('"leaf":"') + 40] ^= 1
        const empty = Buffer.from(
          whole.toString().replace(/"entries":\[.*\]\}(?=<\/script>)/s, () => '"entries":[]}'),
        )
        assert.ok(empty.length < whole.length, 'the page without an entry')
        for (const [name, bytes, outcome] of [
          ['whole.html', whole, 'passed'],
          ['changed.html', changed, 'failed'],
          ['empty.html', empty, 'failed'],
        ]) {
          const file = path.join(scratch, name)
          await writeFile(file, bytes)
          // A browser without a net, which asks for nothing else.
          const offline = await visitor.context.browser().newContext({ offline: true })
          try {
            const asked = []
            offline.on('request', (request) => asked.push(request.url()))
            const opened = await offline.newPage()
            const { href } = pathToFileURL(file)
            await opened.goto(href)
            await opened.locator('#languages button').first().waitFor()
            const verdict = opened.locator('#verdict')
            assert.equal(await verdict.getAttribute('data-outcome'), outcome, name)
            assert.deepEqual(asked.filter((url) => !/^(data|blob):/.test(url)), [href])
          } finally {
            await offline.close()
          }
        }
      },
    },
    {
      name: 'the exported ledger verifies offline',
      run: async () => {
        const { tenant, ledger_vkey: vkey } = demo.facts.demo
        const exported = await demo.command([
          ...['ledger', 'export', folder],
          ...['--tenant', tenant, '--data', demo.data],
        ])
        assert.equal(exported.code, 0, exported.output)
        const verified = await demo.command(['ledger', 'verify', folder, '--vkey', vkey])
        assert.equal(verified.code, 0, verified.output)
      },
    },
    {
      name: 'one changed byte is found and its file is named',
      run: async () => {
        const { file, bytes } = await largest(folder)
        const middle = bytes.length >> 1
        bytes[middle] ^= 1
        await writeFile(file, bytes)
        const found = await demo.command(['ledger', 'verify', folder])
        assert.equal(found.code, 10, found.output)
        const name = path.basename(file)
        assert.ok(found.output.includes(name), `${name} is not named:\n${found.output}`)
        return path.relative(folder, file)
      },
    },
  ]
}

/** The largest file below a folder: a batch of readings or a bundle of entries. */
async function largest(folder) {
  let best = { file: '', size: -1 }
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = path.join(entry.parentPath ?? entry.path, entry.name)
    const { size } = await stat(file)
    if (size > best.size) best = { file, size }
  }
  return { file: best.file, bytes: await readFile(best.file) }
}

/** A file of a zip that is stored as it is (PKWARE APPNOTE 6.3, local file header). */
function stored(zip, wanted) {
  let at = 0
  while (zip.readUInt32LE(at) === 0x04034b50) {
    const size = zip.readUInt32LE(at + 18)
    const nameBytes = zip.readUInt16LE(at + 26)
    const start = at + 30 + nameBytes + zip.readUInt16LE(at + 28)
    if (zip.toString('utf8', at + 30, at + 30 + nameBytes) === wanted) {
      return zip.subarray(start, start + size)
    }
    at = start + size
  }
  throw new Error(`${wanted} is not in the bundle`)
}

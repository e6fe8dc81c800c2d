// The browser tests: a person's whole walk against the real binary. Prints the totals last.
import { mkdir } from 'node:fs/promises'
import path from 'node:path'

import { runSteps, say } from './runner.js'
import { OUT, withStage } from './stage.js'
import { accessSteps } from './walk/access.js'
import { accountSteps } from './walk/account.js'
import { alertSteps } from './walk/alert.js'
import { centreSteps } from './walk/centre.js'
import { consentSteps } from './walk/consents.js'
import { signInSteps, signOutSteps, welcomeSteps } from './walk/door.js'
import { inventorySteps } from './walk/inventory.js'
import { joiningSteps } from './walk/joining.js'
import { ledgerSteps } from './walk/ledger.js'
import { personSteps } from './walk/person.js'
import { privacySteps } from './walk/privacy.js'
import { profileSteps } from './walk/profiles.js'
import { providerSteps } from './walk/provider.js'
import { recordSteps } from './walk/records.js'
import { rightSteps } from './walk/rights.js'
import { supportSteps } from './walk/support.js'
import { viewerSteps } from './walk/viewer.js'

const WALK = [
  signInSteps,
  centreSteps,
  alertSteps,
  ledgerSteps,
  inventorySteps,
  profileSteps,
  recordSteps,
  supportSteps,
  accessSteps,
  viewerSteps,
  personSteps,
  accountSteps,
  consentSteps,
  privacySteps,
  rightSteps,
  providerSteps,
  welcomeSteps,
  joiningSteps,
  signOutSteps,
  calmSteps,
]

/** What was collected on every page of the walk. */
function calmSteps({ visitor }) {
  return [
    {
      name: 'all the way: calm console, one cookie, no foreign request, axe content, all fits',
      run: async () => {
        if (visitor.findings.size === 0) return `${visitor.looked} looks`
        throw new Error([...visitor.findings].map(([what, at]) => `${what} [${at}]`).join('\n'))
      },
    },
  ]
}

const started = Date.now()
let totals = { passed: 0, failed: 1, skipped: 0 }
try {
  totals = await withStage(async (stage) => {
    say(`platforms listen after ${((Date.now() - started) / 1000).toFixed(1)} s`)
    const steps = WALK.flatMap((part) => part(stage))
    await mkdir(path.join(OUT, 'failed'), { recursive: true })
    const done = await runSteps(steps, async (name) => {
      const file = `${name.replace(/[^a-z0-9]+/gi, '-').slice(0, 60)}.png`
      await stage.visitor.page.screenshot({ path: path.join(OUT, 'failed', file) })
      say(`           picture: e2e/out/failed/${file}`)
      await stage.visitor.page.evaluate(() => localStorage.clear())
    })
    if (done.failed > 0) say(`the platform's last words:\n${stage.demo.output.slice(-3_000)}`)
    return done
  })
} catch (error) {
  say(error instanceof Error ? (error.stack ?? error.message) : String(error))
}
const { passed, failed, skipped } = totals
say(`${((Date.now() - started) / 1000).toFixed(0)} s`)
say(`totals: ${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed > 0 ? 1 : 0

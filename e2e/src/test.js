// The browser tests: a person's whole walk against the real binary. Prints the totals last. Named
// parts alone are walked by `npm test -- policy ending`, after the sign-in.
import { mkdir } from 'node:fs/promises'
import path from 'node:path'

import { runSteps, say } from './runner.js'
import { OUT, withStage } from './stage.js'
import { accessSteps } from './walk/access.js'
import { accountSteps } from './walk/account.js'
import { agreeingSteps } from './walk/agreeing.js'
import { alertSteps } from './walk/alert.js'
import { auditorSteps } from './walk/auditor.js'
import { brandSteps } from './walk/brand.js'
import { centreSteps } from './walk/centre.js'
import { consentSteps } from './walk/consents.js'
import { destroyedSteps, destructionSteps } from './walk/destruction.js'
import { signInSteps, signOutSteps, welcomeSteps } from './walk/door.js'
import { endingSteps } from './walk/ending.js'
import { erasureSteps } from './walk/erasure.js'
import { evidenceSteps } from './walk/evidence.js'
import { holdSteps } from './walk/holds.js'
import { importSteps } from './walk/imports.js'
import { incidentSteps } from './walk/incidents.js'
import { inventorySteps } from './walk/inventory.js'
import { joiningSteps } from './walk/joining.js'
import { ledgerSteps } from './walk/ledger.js'
import { mailingSteps } from './walk/mailing.js'
import { outsideSteps } from './walk/outside.js'
import { ownSteps } from './walk/own.js'
import { packageSteps } from './walk/packages.js'
import { proofSteps } from './walk/people.js'
import { personSteps } from './walk/person.js'
import { platformSteps } from './walk/platform.js'
import { policySteps } from './walk/policies.js'
import { privacySteps } from './walk/privacy.js'
import { profileSteps } from './walk/profiles.js'
import { promiseSteps } from './walk/promises.js'
import { providerSteps } from './walk/provider.js'
import { recordSteps } from './walk/records.js'
import { registerSteps } from './walk/registers.js'
import { rightSteps } from './walk/rights.js'
import { routingSteps } from './walk/routing.js'
import { supportSteps } from './walk/support.js'
import { viewerSteps } from './walk/viewer.js'
import { workspaceSteps } from './walk/workspace.js'

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
  proofSteps,
  consentSteps,
  privacySteps,
  destructionSteps,
  erasureSteps,
  agreeingSteps,
  ownSteps,
  promiseSteps,
  auditorSteps,
  mailingSteps,
  policySteps,
  endingSteps,
  evidenceSteps,
  workspaceSteps,
  registerSteps,
  holdSteps,
  incidentSteps,
  importSteps,
  routingSteps,
  packageSteps,
  destroyedSteps,
  outsideSteps,
  rightSteps,
  providerSteps,
  welcomeSteps,
  joiningSteps,
  platformSteps,
  brandSteps,
  signOutSteps,
  calmSteps,
]

/** What the names of the parts to walk begin with; all of them where none is named. */
const NAMED = process.argv.slice(2)
const ALWAYS = [signInSteps, calmSteps]

function isWalked(part) {
  if (NAMED.length === 0 || ALWAYS.includes(part)) return true
  return NAMED.some((name) => part.name.startsWith(name))
}

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
    const steps = WALK.filter(isWalked).flatMap((part) => part(stage))
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

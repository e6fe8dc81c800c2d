// What every walk stands on: two platforms, an identity provider, one browser that trusts them, one
// signed-out visitor.
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import { launch, Visitor } from './browser.js'
import { Identity } from './identity.js'
import { Platform } from './platform.js'

export const OUT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../out')

/**
 * @typedef {object} Stage
 * @property {Platform} demo
 * @property {Platform} serve
 * @property {Identity} identity
 * @property {import('playwright-core').Browser} browser
 * @property {Visitor} visitor of the demo
 * @property {string} scratch a folder that goes with the stage
 */

/** @param {(stage: Stage) => Promise<T>} work @template T */
export async function withStage(work) {
  const scratch = await mkdtemp(path.join(os.tmpdir(), 'veritwin-e2e-'))
  await mkdir(OUT, { recursive: true })
  /** @type {(() => Promise<unknown>)[]} */
  const endings = [() => rm(scratch, { recursive: true, force: true })]
  try {
    const folder = path.join(scratch, 'identity')
    await mkdir(folder)
    const identity = await Identity.start(folder)
    endings.push(() => identity.stop())
    const outbound = {
      VERITWIN__OUTBOUND__ALLOWED_NETWORKS: '127.0.0.0/8, ::1',
      VERITWIN__OUTBOUND__PORTS: `443, ${identity.port}`,
      VERITWIN__OUTBOUND__AUTHORITIES: identity.authority,
    }
    const [demo, serve] = await Promise.all(
      ['demo', 'serve'].map(async (mode) => {
        const platform = await Platform.start(mode, path.join(scratch, mode), outbound)
        endings.push(() => platform.stop())
        return platform
      }),
    )
    const browser = await launch(path.join(scratch, 'home'), [demo.ca, serve.ca, identity.ca])
    endings.push(() => browser.close())
    const visitor = await Visitor.arrive(browser, demo.origin)
    return await work({ demo, serve, identity, browser, visitor, scratch })
  } finally {
    for (const end of endings.reverse()) await end().catch(() => undefined)
  }
}

// Runs the steps of a walk one after the other, prints one line each and the totals at the end.

/** @typedef {{ name: string, run: () => Promise<void | string>, needed?: boolean }} Step */

/** Thrown by a step that cannot run here; its message says why. */
export class Skip extends Error {}

const STEP_TIMEOUT_MS = 200_000

/**
 * @param {Step[]} steps
 * @param {(name: string) => Promise<void>} onFailure called after a failed step, for a picture
 * @returns {Promise<{ passed: number, failed: number, skipped: number }>}
 */
export async function runSteps(steps, onFailure) {
  const totals = { passed: 0, failed: 0, skipped: 0 }
  let blockedBy = ''
  for (const step of steps) {
    const started = Date.now()
    const took = () => `${((Date.now() - started) / 1000).toFixed(1)} s`
    if (blockedBy !== '') {
      totals.skipped += 1
      say(`skipped  ${step.name}: "${blockedBy}" failed`)
      continue
    }
    try {
      const note = await bounded(step.run(), step.name)
      totals.passed += 1
      say(`ok       ${step.name} (${took()})${note ? `: ${note}` : ''}`)
    } catch (error) {
      if (error instanceof Skip) {
        totals.skipped += 1
        say(`skipped  ${step.name}: ${error.message}`)
        continue
      }
      totals.failed += 1
      say(`FAILED   ${step.name} (${took()})\n${indent(error)}`)
      if (step.needed) blockedBy = step.name
      await onFailure(step.name).catch(() => undefined)
    }
  }
  return totals
}

/** @param {string} line */
export function say(line) {
  process.stdout.write(`${line}\n`)
}

/**
 * Waits until `look` answers something true, and returns it. Never sleeps longer than `everyMs`.
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} look
 * @param {{ timeoutMs?: number, everyMs?: number }} [options]
 */
export async function until(what, look, { timeoutMs = 20_000, everyMs = 100 } = {}) {
  const end = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found) return found
    if (Date.now() > end) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`)
    await new Promise((wake) => setTimeout(wake, everyMs))
  }
}

/** @param {Promise<void | string>} work @param {string} name */
function bounded(work, name) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`"${name}" took too long`)), STEP_TIMEOUT_MS)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

/** @param {unknown} error */
function indent(error) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  return text
    .split('\n')
    .filter((line) => !line.includes('node:internal'))
    .map((line) => `           ${line}`)
    .join('\n')
}

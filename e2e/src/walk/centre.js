// The command centre: scene, live values, selection in tree and table, history, storeys, heat map,
// section, and that an idle scene draws nothing.
import assert from 'node:assert/strict'

import { variety } from '../picture.js'
import { until } from '../runner.js'

const DEVICE = 'RS-1.01'
/** Longer than the five seconds in which a rolling range moves on. */
const IDLE_MS = 7_000
const TRIANGLES_MIN = 2_000
const COLOURS_MIN = 64

/** Waits until the scene has not drawn for `forMs`. */
export function stillFor(visitor, forMs) {
  return until(
    `no frame for ${forMs} ms`,
    () => visitor.page.evaluate((ms) => performance.now() - window.drawn.lastAt > ms, forMs),
    { timeoutMs: 45_000 },
  )
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function centreSteps(stage) {
  return [...sceneSteps(stage), ...selectionSteps(stage), ...toolSteps(stage)]
}

function sceneSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'the building is drawn in 3D with its geometry',
      run: async () => {
        const geometry = page.waitForResponse((r) => /\/geometry$/.test(new URL(r.url()).pathname))
        await visitor.open('/')
        const answer = await geometry
        assert.equal(answer.status(), 200)
        assert.match(answer.headers()['content-type'], /model\/gltf-binary/)
        const drawn = await until(
          `a frame with ${TRIANGLES_MIN} triangles`,
          async () => {
            const { frames, triangles } = await visitor.drawn()
            return triangles >= TRIANGLES_MIN && { frames, triangles }
          },
          { timeoutMs: 60_000 },
        )
        const colours = variety(await page.locator('.scene-canvas').screenshot())
        assert.ok(colours >= COLOURS_MIN, `only ${colours} colours in the picture`)
        await visitor.look('command centre')
        return `${drawn.triangles} triangles, ${colours} colours`
      },
    },
    {
      name: 'live values arrive over WebSocket and change on the page',
      run: async () => {
        await until('a snapshot of latest values', () =>
          visitor.live.some((message) => message.type === 'latest'),
        )
        await page.getByRole('button', { name: 'Table', exact: true }).click()
        const cells = page.locator('.scene-table tbody td .num')
        await cells.first().waitFor()
        const before = (await cells.allTextContents()).join('|')
        await until(
          'another value in the table',
          async () => (await cells.allTextContents()).join('|') !== before,
        )
        assert.match(before, /°C/, 'values carry their units')
        await visitor.look('table view')
      },
    },
  ]
}

function selectionSteps({ visitor }) {
  const { page } = visitor
  const details = page.getByRole('complementary', { name: 'Details' })
  const chart = details.getByRole('img', { name: /lowest .*°C, highest .*°C/ })
  return [
    {
      name: 'a sensor chosen in the table shows its values',
      run: async () => {
        await visitor.open('/?view=table')
        await page.getByRole('button', { name: DEVICE }).first().click()
        await details.getByRole('heading', { name: DEVICE }).waitFor()
        assert.match(page.url(), /select=sensor/)
      },
    },
    {
      name: 'a sensor chosen in the tree shows value, quality and history',
      run: async () => {
        await visitor.open('/')
        await page.getByLabel('Search rooms and devices').fill(DEVICE)
        await page.getByRole('treeitem', { name: DEVICE }).click()
        await details.getByRole('heading', { name: DEVICE }).waitFor()
        await details.getByText('Good').first().waitFor()
        await details.getByRole('button', { name: 'temperature', exact: true }).click()
        await chart.waitFor()
        const bars = variety(await chart.screenshot())
        assert.ok(bars > 8, 'the chart is drawn')
        await visitor.look('device details')
        return await chart.getAttribute('aria-label')
      },
    },
    {
      name: 'a click on the scene selects what is there',
      run: async () => {
        // The flight to the chosen sensor leaves its marker near the middle of the picture.
        await visitor.open(`/?storey=${await firstStorey(page)}`)
        await stillSoon(visitor)
        const box = await page.locator('.scene-canvas').boundingBox()
        // The building stands in the free part of the picture, which is not its middle.
        for (const share of [0.5, 0.6, 0.7]) {
          if (/select=/.test(page.url())) break
          await page.mouse.click(box.x + box.width / 2, box.y + box.height * share)
          await page.waitForTimeout(300)
        }
        await page.waitForURL(/select=/)
      },
    },
    {
      name: 'papers of a value verify in the browser',
      run: async () => {
        await visitor.open('/?view=table')
        await page.getByRole('button', { name: DEVICE }).first().click()
        await details.getByRole('button', { name: /^Papers of/ }).first().click()
        const papers = page.getByRole('dialog', { name: 'Papers' })
        await papers.getByText('Which leaf of the ledger').waitFor()
        const verify = papers.getByRole('button', { name: 'Verify in this browser' })
        await verify.click({ timeout: 30_000 })
        await papers.getByText('Verified here, in this browser, just now: the shown reading is in the log.').waitFor()
        await visitor.look('papers')
      },
    },
  ]
}

/** Live values keep drawing: still means that the camera has arrived. */
async function stillSoon(visitor) {
  let frames = -1
  await until(
    'the camera has arrived',
    async () => {
      const before = frames
      frames = (await visitor.drawn()).frames
      return frames > 0 && frames - before <= 1
    },
    { everyMs: 400 },
  )
}

async function firstStorey(page) {
  const answer = await page.evaluate(async () => {
    const twins = await (await fetch('/v1/twins')).json()
    const model = await (await fetch(`/v1/twins/${twins.items[0].id}/model`)).json()
    return model.storeys.find((storey) => storey.index === 1)?.id ?? model.storeys[0].id
  })
  return encodeURIComponent(answer)
}

function toolSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'one storey is shown alone',
      run: async () => {
        await visitor.open('/')
        await until('the building', async () => (await visitor.drawn()).triangles > TRIANGLES_MIN)
        const ladder = page.getByRole('radiogroup', { name: 'Storey' })
        const rung = ladder.getByRole('radio').nth(1)
        const before = (await visitor.drawn()).triangles
        await rung.click()
        await page.waitForURL(/storey=/)
        assert.equal(await rung.getAttribute('aria-checked'), 'true')
        await until('fewer triangles', async () => (await visitor.drawn()).triangles < before)
        await visitor.look('one storey')
        await rung.click()
        await until('all triangles', async () => (await visitor.drawn()).triangles >= before)
      },
    },
    {
      name: 'rooms as a heat map, with legend, unit and time',
      run: async () => {
        await page.getByLabel('Heat map of rooms').first().click()
        await page.getByRole('option', { name: 'temperature', exact: true }).click()
        const legend = page.locator('.legend')
        await legend.getByText('°C').waitFor()
        await legend.getByText(/rooms/).waitFor()
        assert.equal(await legend.locator('.legend-ticks span').count(), 3)
        await visitor.look('heat map')
      },
    },
    {
      name: 'a section cuts the building',
      run: async () => {
        await visitor.open('/')
        const slider = page.getByRole('slider', { name: 'Section height' })
        await slider.focus()
        for (let i = 0; i < 20; i += 1) await slider.press('ArrowDown')
        await page.waitForURL(/cut=0\.\d/)
      },
    },
    {
      name: 'the plan view shows one storey from above',
      run: async () => {
        await visitor.open('/')
        await page.getByRole('button', { name: 'Plan', exact: true }).click()
        const { frames } = await visitor.drawn()
        await until('frames of the plan', async () => (await visitor.drawn()).frames > frames)
        await visitor.look('plan')
      },
    },
    {
      name: 'an idle scene draws nothing',
      run: async () => {
        await visitor.open('/')
        await until('the building', async () => (await visitor.drawn()).triangles > TRIANGLES_MIN)
        await page.getByRole('button', { name: 'Live' }).click()
        await page.getByText('Not live: replay.').waitFor()
        await visitor.look('paused')
        await stillFor(visitor, IDLE_MS)
        await page.getByRole('button', { name: 'Back to live' }).click()
        const { frames } = await visitor.drawn()
        await until('frames of live values', async () => (await visitor.drawn()).frames > frames)
      },
    },
  ]
}

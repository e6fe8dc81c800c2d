// Tab through a page: which of its controls the keyboard never comes to.

const CONTROLS = 'a[href], button, input, select, textarea, summary, [tabindex]'
/** Stops that are no control of ours: what scrolls, and the parts of a date. */
const OTHER_STOPS_MAX = 40

/** Presses Tab through what stands in the middle; answers the controls that had no focus. */
export async function unreached(page) {
  const wanted = await page.evaluate((selector) => {
    const main = document.getElementById('main')
    const isWanted = (control) =>
      control.checkVisibility() &&
      !control.disabled &&
      control.tabIndex >= 0 &&
      // Of a group of choices one has the focus.
      control.type !== 'radio'
    const controls = [...main.querySelectorAll(selector)].filter(isWanted)
    for (const control of controls) control.dataset.unreached = ''
    main.addEventListener('focusin', ({ target }) => delete target.dataset.unreached)
    main.focus()
    return controls.length
  }, CONTROLS)
  const left = () => page.locator('[data-unreached]').count()
  for (let pressed = 0; pressed < wanted + OTHER_STOPS_MAX; pressed += 1) {
    if (pressed >= wanted && (await left()) === 0) break
    await page.keyboard.press('Tab')
  }
  return page.evaluate(() => {
    const missed = [...document.querySelectorAll('[data-unreached]')]
    return missed.map((control) => control.outerHTML.slice(0, 160))
  })
}

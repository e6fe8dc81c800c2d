// Routing: a destination is registered, a rule sends readings there, and both go again.
import { confirmTyped } from './inventory.js'
import { choose, part } from './people.js'

const PLACE = 'Everything again'
const RULE = 'Room climate'

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function routingSteps({ visitor }) {
  const { page } = visitor
  return [
    {
      name: 'a destination and a rule are made, and removed by typing their names',
      run: async () => {
        await visitor.open('/routing')
        await page.getByRole('button', { name: 'Register a destination' }).click()
        const place = page.getByRole('dialog', { name: 'Register a destination' })
        await place.getByLabel('Name').fill(PLACE)
        await place.getByLabel('Who receives it').fill('Our own programs')
        await place.getByLabel('What for').fill('To be read twice')
        await choose(page, place, 'What it is', 'Another topic here')
        await place.getByLabel('Topic').fill('again/{type}/{device}')
        await visitor.look('new destination')
        await place.getByRole('button', { name: 'Register', exact: true }).click()
        await place.waitFor({ state: 'detached' })

        await page.getByRole('button', { name: 'New rule' }).click()
        const form = page.getByRole('dialog', { name: 'New rule' })
        await form.getByLabel('Name').fill(RULE)
        // With the keyboard: the field itself lies below what was chosen.
        await form.getByRole('combobox', { name: 'Destinations', exact: true }).focus()
        await page.keyboard.press('ArrowDown')
        await page.getByRole('option', { name: PLACE, exact: true }).click()
        await page.keyboard.press('Tab')
        await visitor.look('new rule of routing')
        await form.getByRole('button', { name: 'Make the rule' }).click()
        await form.waitFor({ state: 'detached' })
        const rule = part(page, 'Rules').getByRole('listitem').filter({ hasText: RULE })
        await rule.getByText(`→ ${PLACE}`).waitFor()
        await visitor.look('routing')
        await rule.getByRole('button', { name: 'Delete', exact: true }).click()
        await confirmTyped(page, 'Delete the rule', RULE, 'Delete')
        await rule.waitFor({ state: 'detached' })
        const row = part(page, 'Destinations').getByRole('listitem').filter({ hasText: PLACE })
        await row.getByRole('button', { name: 'Remove', exact: true }).click()
        await confirmTyped(page, 'Remove the destination', PLACE, 'Remove')
        await row.waitFor({ state: 'detached' })
      },
    },
  ]
}

// Rights: a role of the organisation's own that denies something, a group of devices, a grant over
// it, and the answer to why somebody may or may not do something.
import assert from 'node:assert/strict'

import { Visitor } from '../browser.js'
import { until } from '../runner.js'
import { settled } from './person.js'

const ROLE = 'Hands off'
const GROUP = 'Plant room'
const EMAIL = 'fitter@organisation.example'
const GUEST = 'guest@organisation.example'
const NOT_COMING = 'not-coming@organisation.example'
export const PASSWORD = 'a sentence is fine'

/** Chooses an option of a list that is searched by typing. */
async function choose(scope, page, label, option) {
  const field = scope.getByRole('combobox', { name: label, exact: true })
  await field.click()
  await page.getByRole('option', { name: option }).first().click()
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function accessSteps({ browser, demo, visitor }) {
  const { page } = visitor
  /** @type {string} */
  let device
  return [
    {
      name: 'every role that one may give is offered with what it is for',
      run: async () => {
        await visitor.open('/settings')
        await page.getByRole('button', { name: 'Invite', exact: true }).click()
        const dialog = page.getByRole('dialog', { name: 'Invite a colleague' })
        await dialog.getByLabel('E-mail').fill(EMAIL)
        await dialog.getByRole('combobox', { name: 'Role' }).click()
        await page.getByRole('option', { name: /^Viewer/ }).waitFor()
        const list = page.getByRole('listbox').getByRole('option')
        const offered = await list.allInnerTexts()
        assert.ok(offered.length >= 9, offered.join(' | '))
        assert.ok(offered.every((text) => text.includes('.')), 'each has its sentence')
        await visitor.look('roles to give')
        await page.getByRole('option', { name: /^Integrator/ }).click()
        await dialog.getByText('Connects devices, buildings and rules').waitFor()
        await dialog.getByRole('button', { name: 'Invite', exact: true }).click()
        await takeUp(visitor, await linkOf(dialog))
        return `${offered.length} roles`
      },
    },
    {
      name: 'a role of one’s own denies changing devices',
      run: async () => {
        await visitor.open('/access?tab=roles')
        await settled(page)
        await visitor.look('roles')
        await page.getByRole('button', { name: 'New role' }).click()
        const dialog = page.getByRole('dialog', { name: 'New role' })
        await dialog.getByRole('textbox', { name: 'Name' }).fill(ROLE)
        await dialog.getByText('Devices and values').click()
        const line = dialog.getByRole('radiogroup', { name: 'Change devices' })
        await line.getByText('Deny', { exact: true }).click()
        await dialog.getByText('denies 1').waitFor()
        await visitor.look('new role')
        await dialog.getByRole('button', { name: 'Make the role' }).click()
        await dialog.waitFor({ state: 'detached' })
        const row = page.getByRole('listitem').filter({ hasText: ROLE })
        await row.getByText('Permits 0, denies 1.').waitFor()
      },
    },
    {
      name: 'a group of devices, and a grant over it',
      run: async () => {
        await visitor.open('/access?tab=parts')
        await page.getByRole('button', { name: 'New group' }).click()
        const form = page.getByRole('dialog', { name: 'New group' })
        await form.getByLabel('Name').fill(GROUP)
        await form.getByRole('combobox', { name: 'Devices' }).click()
        const first = page.getByRole('option').first()
        device = (await first.innerText()).trim()
        await first.click()
        await page.keyboard.press('Tab')
        await visitor.look('new group')
        await form.getByRole('button', { name: 'Make', exact: true }).click()
        await page.getByRole('listitem').filter({ hasText: GROUP }).getByText(device).waitFor()
        await visitor.look('groups')

        await page.getByRole('tab', { name: 'Grants' }).click()
        await page.getByRole('button', { name: 'Give a role' }).click()
        const dialog = page.getByRole('dialog', { name: 'Give a role' })
        await choose(dialog, page, 'Who', EMAIL)
        await choose(dialog, page, 'Role', new RegExp(`^${ROLE}`))
        await choose(dialog, page, 'Where', GROUP)
        await visitor.look('new grant')
        await dialog.getByRole('button', { name: 'Give', exact: true }).click()
        const row = page.getByRole('row').filter({ hasText: EMAIL })
        await row.getByText(GROUP).waitFor()
        await row.getByText(ROLE).waitFor()
        await visitor.look('grants')
      },
    },
    {
      name: 'an invitation over the group opens the group alone',
      run: async () => {
        await takeUp(visitor, await invite(visitor, GUEST, 'Viewer', GROUP))
        const guest = await Visitor.arrive(browser, demo.origin)
        try {
          await signIn(guest, demo.origin, GUEST)
          await guest.open('/devices')
          await guest.page.getByRole('link', { name: new RegExp(`^${device}`) }).waitFor()
          assert.equal(await guest.page.locator('tbody').getByRole('link').count(), 1)
          assert.deepEqual([...guest.findings], [])
        } finally {
          await guest.context.close()
        }
        await visitor.open('/access')
        const row = page.getByRole('row').filter({ hasText: GUEST })
        await row.getByText('Viewer', { exact: true }).waitFor()
        await row.getByText(GROUP).waitFor()
      },
    },
    {
      name: 'an open invitation is listed, and withdrawn',
      run: async () => {
        await invite(visitor, NOT_COMING, 'Viewer')
        await page.getByRole('heading', { name: 'Open invitations' }).waitFor()
        const row = page.getByRole('listitem').filter({ hasText: NOT_COMING })
        await row.getByText('handed over as a link').waitFor()
        await visitor.look('open invitations')
        await row.getByRole('button', { name: 'Withdraw' }).click()
        const dialog = page.getByRole('dialog', { name: 'Withdraw an invitation' })
        await visitor.look('withdraw an invitation')
        await dialog.getByRole('button', { name: 'Withdraw', exact: true }).click()
        await row.waitFor({ state: 'detached' })
      },
    },
    {
      name: 'the record of a grant says who got what, where',
      run: async () => {
        await visitor.open('/activity?action=grant.write')
        await page.getByRole('button', { name: /Give and take grants/ }).first().click()
        const record = page.getByRole('dialog', { name: 'Record' })
        await record.getByText('Made or given').waitFor()
        await record.getByText(ROLE).first().waitFor()
        await visitor.look('record of a grant')
      },
    },
    {
      name: 'what somebody else changed meanwhile is not overwritten',
      run: async () => {
        const later = `${GROUP} and roof`
        await visitor.open('/access?tab=parts')
        const row = page.getByRole('listitem').filter({ hasText: GROUP })
        await row.getByRole('button', { name: 'Change' }).click()
        const dialog = page.getByRole('dialog', { name: 'Change a group' })
        await dialog.getByLabel('Name').fill('Mine')
        const id = await renamed(page, GROUP, later)
        visitor.provoked.add(`409 /v1/groups/${id}`)
        await dialog.getByRole('button', { name: 'Save' }).click()
        await dialog.getByText('Somebody else changed this in the meantime.').waitFor()
        await visitor.look('a stale change')
        await dialog.getByRole('button', { name: 'Reload' }).click()
        await until('what they wrote', async () => {
          return (await dialog.getByLabel('Name').inputValue()) === later
        })
        await dialog.getByLabel('Name').fill(GROUP)
        await dialog.getByRole('button', { name: 'Save' }).click()
        await dialog.waitFor({ state: 'detached' })
        await page.getByRole('listitem').filter({ hasText: GROUP }).waitFor()
      },
    },
    {
      name: 'the answer to why names the role that denies',
      run: async () => {
        await page.getByRole('tab', { name: 'Why?' }).click()
        const panel = page.getByRole('tabpanel')
        await choose(panel, page, 'Who', EMAIL)
        await choose(panel, page, 'Does what', 'Change devices')
        await panel.getByText('Yes, this is permitted.').waitFor()
        await panel.getByText('set-up').waitFor()
        await choose(panel, page, 'On what', device)
        await panel.getByText('No, this is refused.').waitFor()
        const row = panel.getByRole('row').filter({ hasText: ROLE })
        await row.getByText('denies it').waitFor()
        await row.getByText('own-role.denies').waitFor()
        await visitor.look('why')
        // The question is in the address: it can be handed on.
        await page.reload()
        await panel.getByText('No, this is refused.').waitFor()
      },
    },
    {
      name: 'taken away, the grant no longer counts',
      run: async () => {
        const why = page.url()
        await page.getByRole('tab', { name: 'Grants' }).click()
        const row = page.getByRole('row').filter({ hasText: EMAIL })
        await row.getByRole('button', { name: 'Take away' }).click()
        const dialog = page.getByRole('dialog', { name: 'Take a role away' })
        await dialog.getByRole('button', { name: 'Take away' }).click()
        await row.waitFor({ state: 'detached' })
        await page.goto(why)
        await page.getByText('Yes, this is permitted.').waitFor()
      },
    },
    {
      name: 'who holds a grant only sees that part, and only the pages it needs',
      run: async () => {
        await visitor.open('/settings')
        const row = page.getByRole('listitem').filter({ hasText: EMAIL })
        await row.getByRole('button', { name: 'Change roles' }).click()
        const roles = page.getByRole('dialog', { name: 'Change roles' })
        await roles.getByLabel('Integrator').uncheck()
        await roles.getByLabel('Support').check()
        await visitor.look('change roles')
        await roles.getByRole('button', { name: 'Save' }).click()
        await row.getByText('Support', { exact: true }).waitFor()
        await visitor.open('/access')
        await page.getByRole('button', { name: 'Give a role' }).click()
        const dialog = page.getByRole('dialog', { name: 'Give a role' })
        await choose(dialog, page, 'Who', EMAIL)
        await choose(dialog, page, 'Where', GROUP)
        await dialog.getByRole('button', { name: 'Give', exact: true }).click()
        await page.getByRole('row').filter({ hasText: EMAIL }).waitFor()

        const other = await Visitor.arrive(browser, demo.origin)
        try {
          await signIn(other, demo.origin)
          await other.open('/devices')
          await other.page.getByRole('link', { name: new RegExp(`^${device}`) }).waitFor()
          assert.equal(await other.page.locator('tbody').getByRole('link').count(), 1)
          const main = other.page.getByRole('navigation', { name: 'Main' })
          await main.getByRole('link', { name: 'Alerts' }).waitFor()
          assert.equal(await main.getByRole('link', { name: 'Ledger' }).count(), 0)
          await other.look('a part of the devices')
          await other.page.goto(demo.origin)
          await other.page.getByText('No building is open to you').waitFor()
          await other.look('no building')
          assert.deepEqual([...other.findings], [])
        } finally {
          await other.context.close()
        }
      },
    },
  ]
}

/** Somebody else renames a group meanwhile, as a program would; answers its id. */
function renamed(page, from, to) {
  return page.evaluate(
    async ([from, to]) => {
      const { items } = await (await fetch('/v1/groups')).json()
      const { id, version: _, ...group } = items.find(({ name }) => name === from)
      await fetch(`/v1/groups/${id}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ ...group, name: to }),
      })
      return id
    },
    [from, to],
  )
}

/** The link that a dialog shows once. */
async function linkOf(dialog) {
  const link = (await dialog.locator('pre').first().innerText()).trim()
  await dialog.getByRole('button', { name: 'Done' }).click()
  return link
}

/** Invites somebody with a role, over a part of the organisation if one is named; the link. */
export async function invite({ page, origin }, email, role, where) {
  await page.goto(`${origin}/settings`)
  await page.getByRole('button', { name: 'Invite', exact: true }).click()
  const dialog = page.getByRole('dialog', { name: 'Invite a colleague' })
  await dialog.getByLabel('E-mail').fill(email)
  await choose(dialog, page, 'Role', new RegExp(`^${role}`))
  if (where !== undefined) await choose(dialog, page, 'Where', where)
  await dialog.getByRole('button', { name: 'Invite', exact: true }).click()
  return linkOf(dialog)
}

/** Signs in as a person who was invited. */
export async function signIn({ page, provoked }, origin, email = EMAIL) {
  provoked.add('401 /v1/session')
  await page.goto(`${origin}/sign-in`)
  await page.getByLabel('E-mail').fill(email)
  await page.getByLabel(/^Password/).fill(PASSWORD)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByText('Simulated data.').waitFor()
}

/** Somebody else takes the invitation up, in a browser of their own. */
export async function takeUp(visitor, link) {
  const context = await visitor.context.browser().newContext()
  try {
    const other = await context.newPage()
    await other.goto(link)
    await other.getByRole('heading', { name: 'Welcome' }).waitFor()
    await other.getByLabel(/^Password/).fill(PASSWORD)
    await other.getByLabel('I am 18 or older').check()
    await other.getByRole('button', { name: 'Continue' }).click()
    await other.getByText('Simulated data.').waitFor()
  } finally {
    await context.close()
  }
}

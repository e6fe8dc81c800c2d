// Rights that people use themselves: a limit and an objection count at once and are taken back, a
// correction is answered by an officer, and the copy of everything that is kept comes as a file.
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'

import { arrived, choose, part } from './people.js'

const SUBJECT = 'subject@demo.example'
const COPY = 'A copy of my data'
const LIMIT = 'Keep my data and do nothing else with it'
const OBJECTION = 'Object to a use of my data'
const CORRECTION = 'Correct my data'
const WORDS = 'My name is spelt with two n.'
const ANSWER = 'It has two n now.'

/** Asks for a right in one's own settings. */
async function useRight(person, right, words) {
  const { page } = person
  await part(page, 'My privacy').getByRole('button', { name: 'Use a right' }).click()
  const form = page.getByRole('dialog', { name: 'Use a right' })
  if (right !== COPY) await choose(page, form, 'What should be done', right)
  if (words !== undefined) await form.getByLabel(/^In your words/).fill(words)
  await person.look(`using a right: ${right}`)
  await form.getByRole('button', { name: 'Send' }).click()
  await form.waitFor({ state: 'detached' })
}

/** An officer answers what somebody wrote. */
async function answered({ visitor }, words, text) {
  const { page } = visitor
  await visitor.open('/activity')
  const row = page.getByRole('listitem').filter({ hasText: words })
  await row.getByRole('button', { name: 'Open', exact: true }).click()
  const sheet = page.getByRole('dialog', { name: 'Request of a data subject' })
  await sheet.getByRole('button', { name: 'Answer', exact: true }).click()
  await sheet.getByLabel(/^In your words/).fill(text)
  await sheet.getByRole('button', { name: 'Send' }).click()
  await sheet.getByText('answered', { exact: true }).waitFor()
  await page.keyboard.press('Escape')
  await sheet.waitFor({ state: 'detached' })
}

/** What somebody's copy holds, as text. */
async function downloaded(page) {
  const coming = page.waitForEvent('download')
  await part(page, 'My privacy').getByRole('button', { name: 'Download my data' }).click()
  const copy = await coming
  assert.equal(copy.suggestedFilename(), 'my-data.zip')
  return (await readFile(await copy.path())).toString('latin1')
}

/** @param {import('../stage.js').Stage} stage @returns {import('../runner.js').Step[]} */
export function ownSteps(stage) {
  let person
  const row = (right) =>
    part(person.page, 'My privacy').getByRole('listitem').filter({ hasText: right })
  return [
    {
      name: 'a limit and an objection count at once and are taken back',
      run: async () => {
        person = await arrived(stage, SUBJECT, 'viewer')
        await person.open('/settings')
        for (const right of [LIMIT, OBJECTION]) {
          await useRight(person, right)
          await row(right).getByText('answered', { exact: true }).waitFor()
          await row(right).getByRole('button', { name: 'Take back' }).click()
          await row(right).getByText('taken back', { exact: true }).waitFor()
        }
        await person.look('own rights')
      },
    },
    {
      name: 'a correction is answered by an officer, and whoever asked reads the answer',
      run: async () => {
        await useRight(person, CORRECTION, WORDS)
        await answered(stage, WORDS, ANSWER)
        await person.open('/settings')
        await person.page.getByText(ANSWER).waitFor()
      },
    },
    {
      name: 'somebody asks for the copy of their data and downloads it',
      run: async () => {
        try {
          await useRight(person, COPY)
          await row(COPY).getByText('answered', { exact: true }).waitFor()
          const copy = await downloaded(person.page)
          assert.ok(copy.startsWith('PK\u0003\u0004') && copy.length > 1_000)
          assert.ok(copy.includes(SUBJECT) && copy.includes(WORDS), 'what is theirs is in it')
          assert.ok(!copy.includes(stage.demo.facts.demo.user), 'nobody else is in it')
          assert.deepEqual([...person.findings], [])
        } finally {
          await person.context.close()
        }
      },
    },
  ]
}

// The identity provider as a program, for tests in other languages: one JSON object a line in, one
// a line out. It ends with its standard input.
import { createInterface } from 'node:readline'

import { CLIENT, Identity } from './identity.js'

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)

const identity = await Identity.start(process.argv[2])
say({ issuer: identity.issuer, port: identity.port, authority: identity.authority, client: CLIENT })

const COMMANDS = {
  configure: (options) => identity.configure(options),
  rotate: () => identity.rotate(),
  pretend: (lie) => identity.pretend(lie),
  walk: async ({ address, login }) => ({ location: await identity.walk(address, login) }),
}

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line)
  try {
    say({ ...(await COMMANDS[command](rest)) })
  } catch (error) {
    say({ error: error.message })
  }
}
await identity.stop()

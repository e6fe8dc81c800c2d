// The way to an organisation's sign-in provider and back. What the page keeps in between lives in
// this tab alone, and what comes back in the address leaves the address bar at once.
import { body, client } from '../api/client'
import type { Session } from '../api/types'

const STORAGE_KEY = 'veritwin.sign-in'
export const RETURN_PATH = '/sign-in/return'

type Kept = { secret: string; organisation: string; next: string }

/** What the provider sent back. Read before the router sees the address. */
const returned = takeReturned()

function takeReturned(): URLSearchParams | null {
  if (typeof window === 'undefined' || window.location.pathname !== RETURN_PATH) return null
  const found = new URLSearchParams(window.location.search)
  window.history.replaceState(null, '', RETURN_PATH)
  return found
}

function kept(): Kept | null {
  try {
    const value = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? 'null') as Kept | null
    return value !== null && typeof value.secret === 'string' ? value : null
  } catch {
    return null
  }
}

export type Options = { organisation: string; next: string; fresh?: boolean; attested?: boolean }

/** Goes to the provider. */
export async function goToProvider(options: Options): Promise<void> {
  const { organisation, next, fresh = false, attested = false } = options
  const begun = await body(
    client.POST('/v1/session/provider', { body: { organisation, fresh, attested } }),
  )
  const keeping: Kept = { secret: begun.secret, organisation, next }
  sessionStorage.setItem(STORAGE_KEY, JSON.stringify(keeping))
  window.location.assign(begun.address)
}

/** Nobody began a sign-in in this tab. */
export class NotBegun extends Error {}

export type Finished = { session: Session; next: string }

let finishing: Promise<Finished> | null = null

/** Finishes the sign-in that came back, once, however often it is asked for. */
export function finishSignIn(): Promise<Finished> {
  finishing ??= finish()
  return finishing
}

async function finish(): Promise<Finished> {
  const begun = kept()
  const state = returned?.get('state')
  if (begun === null || !state) throw new NotBegun()
  const code = returned?.get('code')
  const iss = returned?.get('iss')
  const session = await body(
    client.POST('/v1/session/provider/finish', {
      body: { secret: begun.secret, state, ...(code && { code }), ...(iss && { iss }) },
    }),
  )
  sessionStorage.removeItem(STORAGE_KEY)
  return { session, next: begun.next }
}

/** Whose provider the sign-in of this tab is. */
export const keptOrganisation = (): string | null => kept()?.organisation ?? null

/** Begins the same sign-in again, with what the person said in between. */
export function beginAgain(attested: boolean): Promise<void> {
  const begun = kept()
  if (begun === null) return Promise.reject(new NotBegun())
  return goToProvider({ organisation: begun.organisation, next: begun.next, attested })
}

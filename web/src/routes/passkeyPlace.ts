// Where passkeys work: they belong to the platform's own host name, and a browser offers none at
// another one.
import { useQuery } from '@tanstack/react-query'

import { passkeysWork } from '../lib/passkeys'
import { faceQuery } from './partners/queries'

/** Whether passkeys work on this page; else, where they do. */
export function usePasskeyPlace(): { work: boolean; elsewhere: string | null } {
  const host = useQuery(faceQuery).data?.passkey_host ?? null
  const isHere = host === null || host === window.location.hostname
  return { work: passkeysWork && isHere, elsewhere: passkeysWork && !isHere ? host : null }
}

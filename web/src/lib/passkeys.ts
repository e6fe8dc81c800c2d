// Passkeys in the browser: what the platform sends becomes a call of navigator.credentials, and
// its answer goes back as base64url.
import type { components } from '../api/schema'

type Schemas = components['schemas']

function bytes(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0))
}

function text(buffer: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(buffer))
  return btoa(plain).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

export const passkeysWork = typeof PublicKeyCredential !== 'undefined'

/** Asks for one of the person's passkeys. Throws when they decline. */
export async function usePasskey(asked: Schemas['ChallengeBody']): Promise<Schemas['AssertionBody']> {
  const credential = await navigator.credentials.get({
    publicKey: {
      challenge: bytes(asked.challenge),
      rpId: asked.rp_id,
      userVerification: 'required',
    },
  })
  if (!(credential instanceof PublicKeyCredential)) throw new Error('no passkey')
  const response = credential.response as AuthenticatorAssertionResponse
  return {
    id: text(credential.rawId),
    client_data: text(response.clientDataJSON),
    authenticator_data: text(response.authenticatorData),
    signature: text(response.signature),
  }
}

/** Makes a passkey on this device. Throws when the person declines. */
export async function makePasskey(
  asked: Schemas['NewPasskeyBody'],
  name: string,
): Promise<Schemas['RegistrationBody']> {
  const credential = await navigator.credentials.create({
    publicKey: {
      challenge: bytes(asked.challenge),
      rp: { id: asked.rp_id, name: 'Veritwin' },
      user: {
        id: bytes(asked.user_id),
        name: asked.user_name,
        displayName: asked.user_display_name,
      },
      pubKeyCredParams: asked.algorithms.map((alg) => ({ type: 'public-key', alg })),
      excludeCredentials: asked.exclude.map((id) => ({ type: 'public-key', id: bytes(id) })),
      authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
      attestation: 'none',
    },
  })
  if (!(credential instanceof PublicKeyCredential)) throw new Error('no passkey')
  const response = credential.response as AuthenticatorAttestationResponse
  return {
    name,
    client_data: text(response.clientDataJSON),
    attestation: text(response.attestationObject),
  }
}

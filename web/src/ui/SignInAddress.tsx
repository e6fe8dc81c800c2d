// The address of the sign-in page of an account that one organisation alone knows.
import { i18n } from '@lingui/core'

export function SignInAddress(props: { organisation: string }) {
  const address = `${location.origin}/sign-in?organisation=${props.organisation}`
  return (
    <div className="stack">
      <p>
        {i18n.t(
          'This account belongs to this organisation alone and signs in at this address. Keep it, for example as a bookmark:',
        )}
      </p>
      <pre className="code wrap">{address}</pre>
    </div>
  )
}

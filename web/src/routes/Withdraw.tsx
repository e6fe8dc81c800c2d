// The link of a receipt: takes a consent back without a sign-in, by one press. Opening the page
// alone changes nothing, since mail servers open links too.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useEffect, useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { Failure } from '../ui/layout'
import { Door } from './Door'

export function WithdrawPage() {
  const [token] = useState(() => decodeURIComponent(location.hash.slice(1)))
  const [done, setDone] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    if (location.hash !== '') {
      history.replaceState(history.state, '', `${location.pathname}${location.search}`)
    }
  }, [])
  const withdraw = async () => {
    setBusy(true)
    setError(null)
    try {
      const answer = await body(client.POST('/v1/consent-withdrawal', { body: { token } }))
      setDone(answer.title)
    } catch (failure) {
      setError(failure)
    }
    setBusy(false)
  }
  if (done !== null) {
    return (
      <Door title={i18n.t('Your consent is withdrawn')}>
        <p role="status">
          {i18n.t('{title}: nothing more is sent, and what you had given for it is deleted.', {
            title: done,
          })}
        </p>
      </Door>
    )
  }
  const isUnknown = error !== null && ProblemError.of(error).status === 404
  return (
    <Door
      title={i18n.t('Withdraw a consent')}
      lead={i18n.t('One press takes it back. Your account and everything else stay as they are.')}
    >
      <div className="stack">
        {isUnknown && (
          <p className="form-error" role="alert">
            {i18n.t('This link is not complete. You can also withdraw in your settings.')}
          </p>
        )}
        {error !== null && !isUnknown && <Failure error={error} compact />}
        <Button loading={busy} disabled={token === ''} onClick={() => void withdraw()}>
          {i18n.t('Withdraw')}
        </Button>
      </div>
    </Door>
  )
}

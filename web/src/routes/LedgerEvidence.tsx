// Evidence to take away: a file that verifies in any browser without a connection.
import { i18n } from '@lingui/core'
import { Button, Select, TextInput } from '@mantine/core'
import { useMemo, useState } from 'react'

import { ProblemError } from '../api/problem'
import { useDeviceOptions } from '../app/useDevices'
import { download } from '../lib/csv'
import { Failure } from '../ui/layout'

type Asked = { device_id?: string; key?: string; entries: number[] }

/** Not through the client: an answer of this size is not kept for a repetition. */
async function fetchEvidence(asked: Asked): Promise<void> {
  const response = await fetch('/v1/ledger/evidence', {
    method: 'POST',
    credentials: 'same-origin',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(asked),
  })
  if (!response.ok) throw await ProblemError.fromResponse(response)
  const named = /filename="([^"]+)"/.exec(response.headers.get('content-disposition') ?? '')
  download(named?.[1] ?? 'evidence.zip', 'application/zip', await response.blob())
}

function numbers(text: string): number[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => /^\d+$/.test(part))
    .map(Number)
}

export function LedgerEvidence() {
  const [device, setDevice] = useState<string | null>(null)
  const [key, setKey] = useState('')
  const [entries, setEntries] = useState('')
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const named = useMemo(() => (device === null ? [] : [device]), [device])
  const devices = useDeviceOptions(named)
  const chosen = numbers(entries)
  const submit = () => {
    setBusy(true)
    setError(null)
    const asked: Asked = {
      ...(device !== null && { device_id: device }),
      ...(device !== null && key.trim() !== '' && { key: key.trim() }),
      entries: chosen,
    }
    fetchEvidence(asked)
      .catch((problem: unknown) => setError(problem))
      .finally(() => setBusy(false))
  }
  return (
    <section className="block" aria-label={i18n.t('Evidence for an auditor')}>
      <h2>{i18n.t('Evidence for an auditor')}</h2>
      <p>
        {i18n.t(
          'A file that verifies in any browser without a connection: the sealed records of a device, their proofs and the checkpoint.',
        )}
      </p>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault()
          submit()
        }}
      >
        <Select
          label={i18n.t('Device')}
          data={devices.options}
          value={device}
          onChange={setDevice}
          clearable
          {...devices.field}
        />
        <TextInput
          label={i18n.t('Key')}
          value={key}
          disabled={device === null}
          onChange={(event) => setKey(event.currentTarget.value)}
        />
        <TextInput
          label={i18n.t('Entry numbers, separated by commas')}
          value={entries}
          onChange={(event) => setEntries(event.currentTarget.value)}
        />
        {error !== null && <Failure error={error} />}
        <div>
          <Button type="submit" loading={isBusy} disabled={device === null && chosen.length === 0}>
            {i18n.t('Download the evidence')}
          </Button>
        </div>
      </form>
    </section>
  )
}

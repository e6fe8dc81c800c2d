// Evidence to take away: a file that verifies in any browser without a connection.
import { i18n } from '@lingui/core'
import { Button, Select, TextInput } from '@mantine/core'
import { useMemo, useState } from 'react'

import { entryNumbers, fetchEvidence, type EvidenceAsked } from '../api/evidence'
import { useAllowed } from '../app/Allowed'
import { useDeviceOptions } from '../app/useDevices'
import { Failure } from '../ui/layout'

export function LedgerEvidence() {
  const listsDevices = useAllowed()('device.list')
  const [device, setDevice] = useState<string | null>(null)
  const [key, setKey] = useState('')
  const [entries, setEntries] = useState('')
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const named = useMemo(() => (device === null ? [] : [device]), [device])
  const devices = useDeviceOptions(named, { enabled: listsDevices })
  const chosen = entryNumbers(entries)
  const submit = () => {
    setBusy(true)
    setError(null)
    const asked: EvidenceAsked = {
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
        {listsDevices && (
          <>
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
          </>
        )}
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

// Where a reading or a record was sealed: by device, key and time, or by the id of a record or of
// what it is about. The answer shows that one record with its proof, and nothing of the others.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Select, TextInput } from '@mantine/core'
import { useState, type ReactNode } from 'react'

import { body, client } from '../api/client'
import type { LedgerPlace } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { useDeviceOptions } from '../app/useDevices'
import { formatCount } from '../lib/format'
import { CopyField, Empty, Facts, Tag } from '../ui/layout'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'

type By = 'reading' | 'record' | 'about'
const BY: By[] = ['reading', 'record', 'about']

function byLabel(by: By): string {
  switch (by) {
    case 'reading':
      return i18n.t('A reading')
    case 'record':
      return i18n.t('A record, by its id')
    case 'about':
      return i18n.t('Everything about an alert, a consent or a case')
  }
}

function kindLabel(kind: string): string {
  switch (kind) {
    case 'readings':
      return i18n.t('Readings')
    case 'activity':
      return i18n.t('What somebody did')
    case 'key':
      return i18n.t('An act on keys')
    case 'alert':
      return i18n.t('A step of an alert')
    case 'consent':
      return i18n.t('A consent')
    case 'rights_case':
      return i18n.t('A step of a rights case')
    case 'governance':
      return i18n.t('A change in the governance workspace')
    case 'mail':
      return i18n.t('A mail that was sent')
    default:
      return kind
  }
}

function stateLabel(state: string): string {
  switch (state) {
    case 'waiting':
      return i18n.t('waits for its leaf')
    case 'sealed':
      return i18n.t('sealed')
    case 'destroyed':
      return i18n.t('destroyed; its leaf is still proven')
    case 'ended':
      return i18n.t('past its audit period')
    case 'misplaced':
      return i18n.t('not in the entry that the index names')
    default:
      return state
  }
}

export function LedgerLookup() {
  const may = useAllowed()
  // An auditor reads records, and neither devices nor what they measure.
  const readsDevices = may('telemetry.read') && may('device.list')
  const offers = BY.filter((one) => one !== 'reading' || readsDevices)
  const [by, setBy] = useState<By>(readsDevices ? 'reading' : 'record')
  const [device, setDevice] = useState<string | null>(null)
  const [key, setKey] = useState('')
  const [text, setText] = useState('')
  const [places, setPlaces] = useState<LedgerPlace[] | null>(null)
  const offered = useDeviceOptions(device ? [device] : [], { enabled: readsDevices })
  const isReading = by === 'reading'
  const look = async () => {
    setPlaces(null)
    const query = isReading
      ? { device_id: device ?? '', key, at: text.trim() }
      : by === 'record'
        ? { record: text.trim() }
        : { about: text.trim() }
    setPlaces((await body(client.GET('/v1/ledger/lookup', { params: { query } }))).items)
  }
  const isWhole = text.trim() !== '' && (!isReading || (device !== null && key.trim() !== ''))
  return (
    <section className="block">
      <h2>{i18n.t('Find a reading or a record')}</h2>
      <SubmitForm action={i18n.t('Find')} submit={look} incomplete={!isWhole}>
        <Select
          label={i18n.t('What')}
          allowDeselect={false}
          value={by}
          onChange={(value) => {
            setBy(offers.find((known) => known === value) ?? by)
            setPlaces(null)
            setText('')
          }}
          data={offers.map((value) => ({ value, label: byLabel(value) }))}
        />
        {isReading && (
          <>
            <Select
              label={i18n.t('Device')}
              required
              value={device}
              onChange={setDevice}
              data={offered.options}
              {...offered.field}
            />
            <TextInput
              label={i18n.t('Key')}
              required
              value={key}
              onChange={(event) => setKey(event.currentTarget.value)}
            />
          </>
        )}
        <TextInput
          label={isReading ? i18n.t('Time, such as 2026-10-31T08:15:00Z') : i18n.t('Id')}
          required
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
      </SubmitForm>
      <div aria-live="polite">
        {places?.length === 0 && (
          <Empty icon="ledger" title={i18n.t('Nothing is sealed under this')}>
            {i18n.t('Records are sealed within a few seconds. Check the id.')}
          </Empty>
        )}
        {places?.map((place) => (
          <Place key={`${place.record_id ?? ''}-${place.sequence ?? ''}`} place={place} />
        ))}
      </div>
    </section>
  )
}

/** Which erasure changed a record, and by what it is shown. */
function erasedFacts(
  erased: NonNullable<LedgerPlace['erased']>,
  entry: string,
): [string, ReactNode][] {
  return [
    [i18n.t('Request that was carried out'), <code key="r">{erased.request_id}</code>],
    [i18n.t('Entry of the change'), entry],
    [
      i18n.t('Certificate of the erasure (SHA-256)'),
      erased.certificate_sha256 ? <code key="c">{erased.certificate_sha256}</code> : '—',
    ],
  ]
}

function Place({ place }: { place: LedgerPlace }) {
  const { i18n: lingui } = useLingui()
  const number = (value: number | null | undefined) =>
    value === null || value === undefined ? '—' : formatCount(value, lingui.locale)
  return (
    <div className="stack">
      <Facts
        items={[
          [
            i18n.t('What'),
            <span key="w" className="row">
              {kindLabel(place.kind)}
              <Tag tone={place.state === 'sealed' ? 'neutral' : 'warn'}>
                {stateLabel(place.state)}
              </Tag>
            </span>,
          ],
          [i18n.t('When'), <Instant key="i" at={place.recorded_at} />],
          [i18n.t('Entry'), number(place.entry?.index)],
          [i18n.t('Sequence'), number(place.sequence)],
          ...(place.unchanged === null
            ? []
            : [
                [
                  i18n.t('The record here'),
                  place.unchanged ? (
                    i18n.t('is what was sealed')
                  ) : place.erased ? (
                    i18n.t('was changed by the erasure of a person, which is sealed too')
                  ) : (
                    <Tag key="u" tone="warn">
                      {i18n.t('is not what was sealed')}
                    </Tag>
                  ),
                ] as [string, ReactNode],
              ]),
          ...(place.erased ? erasedFacts(place.erased, number(place.erased.entry)) : []),
        ]}
      />
      {place.record && (
        <CopyField
          multiline
          label={i18n.t('Record with its proof')}
          text={JSON.stringify(place.record, null, 2)}
        />
      )}
    </div>
  )
}
